"""A model as a hash, to tell whether anything about it has changed."""

from __future__ import annotations

import hashlib

import torch


def fingerprint(model: torch.nn.Module) -> str:
    """Names, bytes and requires_grad of all parameters, and the types of all modules."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module)} {module.training}".encode())
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {parameter.requires_grad}".encode())
        digest.update(
            parameter.detach().contiguous().view(torch.uint8).numpy(force=True).tobytes()
        )
    return digest.hexdigest()
