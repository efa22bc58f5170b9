"""Samples end to end in one row without padding, and whether a base keeps them apart.

    padded           a b c . .      position  0 1 2        end to end   a b c d e f g h
                     d e f g h                0 1 2 3 4                 0 1 2 0 1 2 3 4

Attention of transformers sees by the positions, which begin again, where a sample ends. A base
that has no positions (Mamba's states, ALiBi's distances) mixes neighbours without a word.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from objectives.data.corpus import IGNORED
from objectives.errors import UserError


__all__ = ["check_padding_free", "end_to_end"]

_SETTING = "`[training] padding_free` = true"
_ROUNDINGS = 100  # ten times those of the check of causality, where kernels are the same


def end_to_end(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A padded batch as one row.

    Returns:
        input_ids, labels and position_ids, each (1, tokens). Nothing predicts the first token of
        a sample, so that it has no label.
    """
    there = batch["attention_mask"].bool()
    positions = torch.arange(there.shape[1]).expand(there.shape)[there]
    labels = batch["labels"][there].where(positions > 0, IGNORED)
    ids = batch["input_ids"][there]
    return {"input_ids": ids[None], "labels": labels[None], "position_ids": positions[None]}


def check_padding_free(base: PreTrainedModel) -> None:
    """Runs the base on a few tokens: a sample's logits must be those that it has alone.

    That nothing comes from the sample before is exact in any type: the gradient there is 0, as
    attention's weights are.

    Raises:
        UserError: They depend on the sample before it.
    """
    first, sample = torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8, 9])
    with torch.no_grad():
        alone = _logits(base, sample)
    behind, gradient = _behind(base, first, sample)
    rounding = _ROUNDINGS * torch.finfo(base.dtype).eps * alone.abs().max()  # of other kernels
    if gradient.any() or (behind - alone).abs().max() > rounding:
        raise UserError(
            f"{_SETTING}: {type(base).__name__} does not tell samples in one row apart: one's "
            "loss would depend on its neighbours; set padding_free = false"
        )


def _behind(base: PreTrainedModel, first: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """A sample's logits behind another, and their gradient in the other's embeddings."""
    embedded: list[Tensor] = []

    def forward_hook(_: object, __: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    with torch.enable_grad(), base.get_input_embeddings().register_forward_hook(forward_hook):
        logits = _logits(base, first, sample)[len(first) :]
        (gradient,) = torch.autograd.grad(logits.square().sum(), embedded[:1])
    return logits.detach(), gradient[0, : len(first)]


def _logits(base: PreTrainedModel, *samples: Tensor) -> Tensor:
    try:
        positions = torch.cat([torch.arange(len(sample)) for sample in samples])
        logits: Tensor = base(
            input_ids=torch.cat(samples)[None].to(base.device),
            position_ids=positions[None].to(base.device),
            use_cache=False,
        ).logits
    except TypeError:
        raise UserError(
            f"{_SETTING}: {type(base).__name__} takes no positions; set padding_free = false"
        ) from None
    return logits[0].float()
