"""Has a model's output head run at chosen positions only; computes nothing itself."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from torch import Tensor


__all__ = ["head_at"]


def head_at(model: nn.Module, positions: Tensor) -> AbstractContextManager[Any]:
    """In this context the head gets the hidden states at these positions, and no others.

    The logits are then (positions, vocabulary). transformers' own `logits_to_keep` takes positions
    that differ from row to row since 5.20 only, as a mask, and a GPU is waited for to count it.

    Args:
        model: A causal language model of transformers, with or without an adapter or DDP around
            it.
        positions: On the CPU; of all rows one after the other: row * tokens + token.
    """

    def pick(_: nn.Module, arguments: tuple[Tensor]) -> Tensor:
        (hidden,) = arguments
        there = positions.to(hidden.device, non_blocking=True)
        return hidden.flatten(0, 1).index_select(0, there)

    unwrapped: Any = getattr(model, "module", model)  # DDP's attribute
    head: nn.Module = unwrapped.get_output_embeddings()
    return head.register_forward_pre_hook(pick)
