"""The loss of each label of a batch, and how batches are shared out among ranks."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import TypeVar

from accelerate import Accelerator
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F

from objectives.data.corpus import IGNORED
from objectives.data.corpus import Preference
from objectives.data.corpus import Sample
from objectives.data.corpus import Samples
from objectives.scoring.output_head import head_at


__all__ = [
    "by_length",
    "count_labels",
    "label_losses",
    "labels_of_rows",
    "per_forward",
    "share_of",
]

Batch = TypeVar("Batch")


def label_losses(model: nn.Module, batch: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The loss of every label in a batch, in nats; shape (labels,), float32.

    `lm_head` runs only on the positions that have a label. The result is the same as from all
    logits, and their memory (513 kB per token for Llama-3.2-1B in float32) is not spent on prompts
    and padding. There is no mask: in a causal model no token sees the padding behind it, and a
    mask keeps attention from its fast ways.

    Args:
        model: A causal language model of transformers, with or without an adapter or DDP around
            it.
        batch: `input_ids` and `labels`, each (rows, tokens), padded on the right, on the CPU, so
            that the labels are picked without waiting for a GPU. A label belongs to the token it
            stands at and is predicted from the position before, as transformers does it. Without
            padding there are `position_ids`, see `objectives.model.padding_free`.
        device: The model's.
    """
    labels = batch["labels"][:, 1:]
    labelled = labels != IGNORED
    targets = labels[labelled].to(device, non_blocking=True)
    predicting = F.pad(labelled, (0, 1))  # (rows, tokens): nothing follows the last
    with head_at(model, predicting.flatten().nonzero().flatten()):
        names = ("input_ids", "position_ids")
        given = {n: batch[n].to(device, non_blocking=True) for n in names if n in batch}
        logits = model(**given, use_cache=False).logits  # (labels, vocabulary)
    return F.cross_entropy(logits.float(), targets, reduction="none")


def labels_of_rows(batch: Mapping[str, Tensor]) -> Tensor:
    """Labels of each row that a loss counts, shape (rows,): nothing predicts a first token."""
    return (batch["labels"][:, 1:] != IGNORED).sum(dim=1)


def count_labels(batch: Mapping[str, Tensor]) -> int:
    """The same of all rows together."""
    return int(labels_of_rows(batch).sum())


def share_of(batches: Sequence[Batch], accelerator: Accelerator) -> list[tuple[Batch, float]]:
    """This rank's batches with weight 1, and as many in all as every other rank's.

    Ranks wait for each other, at the end of a step or in each forward: one that has a batch less
    than another goes over the first one with weight 0.
    """
    ranks, rank = accelerator.num_processes, accelerator.process_index
    mine = range(rank, rank + math.ceil(len(batches) / ranks) * ranks, ranks)
    return [(batches[i], 1.0) if i < len(batches) else (batches[0], 0.0) for i in mine]


def per_forward(samples: int, micro_batch: int, ranks: int) -> int:
    """How many samples a forward has, so that ranks share them out evenly.

    There are as many forwards as full micro-batches need, and each has as few as that leaves. A
    process alone has nobody to wait for, and takes full micro-batches.
    """
    if ranks == 1:
        return micro_batch
    forwards = ranks * math.ceil(samples / (ranks * micro_batch))
    return math.ceil(samples / forwards)


def by_length(samples: Samples, size: int) -> list[list[Sample | Preference]]:
    """Neighbours in length together, so that little padding is computed."""
    ordered = sorted(samples, key=len)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]
