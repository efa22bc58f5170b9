"""transformers' names of optimizers -> an optimizer of an adapter's parameters; trains nothing.

What a name does not say (betas, eps, Adafactor's own learning rates switched off) is as
transformers' Trainer has it by default. Weight decay is decoupled, as in AdamW, except in SGD.

With a `loraplus_lr_ratio` the parameters are in two groups (Hayou et al., "LoRA+", ICML 2024):
those of B, and what has one dimension as DoRA's magnitudes have, learn that many times faster.
These are the groups of `peft.optimizers.create_loraplus_optimizer`, with one weight decay for all;
an adapter of an embedding learns as A does.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import Adafactor


__all__ = ["make_optimizer"]


def make_optimizer(
    name: str,
    parameters: Mapping[str, nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
    loraplus_lr_ratio: float,
) -> Optimizer:
    """A new one.

    Args:
        name: As in `[training] optimizer`.
        parameters: By peft's names.
        learning_rate: Of A.
        weight_decay: Of all.
        loraplus_lr_ratio: Of B's learning rate to A's.
    """
    groups: Iterable[Any] = parameters.values()
    if loraplus_lr_ratio != 1:
        groups = _groups(parameters, learning_rate, loraplus_lr_ratio)
    return _KINDS[name](groups, lr=learning_rate, weight_decay=weight_decay)


def _groups(
    parameters: Mapping[str, nn.Parameter], learning_rate: float, ratio: float
) -> list[dict[str, Any]]:
    fast = {n: p for n, p in parameters.items() if "lora_B" in n or p.ndim == 1}
    slow = [p for name, p in parameters.items() if name not in fast]
    return [
        {"params": slow, "lr": learning_rate},
        {"params": list(fast.values()), "lr": learning_rate * ratio},
    ]


def _of_bitsandbytes(kind: str, bits: int, *, paged: bool = False) -> Callable[..., Optimizer]:
    def make(parameters: Iterable[Any], **rates: float) -> Optimizer:
        optimizer: Any = getattr(import_module("bitsandbytes.optim"), kind)
        made: Optimizer = optimizer(parameters, **rates, optim_bits=bits, is_paged=paged)
        return made

    return make


_KINDS: Mapping[str, Callable[..., Optimizer]] = {
    "adamw_torch_fused": partial(torch.optim.AdamW, fused=True),
    "adamw_torch": torch.optim.AdamW,
    "adafactor": partial(Adafactor, scale_parameter=False, relative_step=False),
    "sgd": torch.optim.SGD,
    "adamw_8bit": _of_bitsandbytes("AdamW", 8),
    "paged_adamw_8bit": _of_bitsandbytes("AdamW", 8, paged=True),
    "paged_adamw_32bit": _of_bitsandbytes("AdamW", 32, paged=True),
    "lion_8bit": _of_bitsandbytes("Lion", 8),
    "lion_32bit": _of_bitsandbytes("Lion", 32),
    "paged_lion_8bit": _of_bitsandbytes("Lion", 8, paged=True),
}
