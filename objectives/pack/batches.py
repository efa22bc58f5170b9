"""The micro-batches of a pack: each adapter's own samples, joined; touches no model."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from objectives.data.corpus import IGNORED
from objectives.scoring.score import count_labels
from objectives.training.learner import Batch
from objectives.training.learner import Learner


__all__ = ["MicroBatch", "grouped_by_tokens", "joined", "micro_batches"]


@dataclass(frozen=True)
class MicroBatch:
    """Samples of one adapter.

    Attributes:
        tensors: On the CPU.
        weight: One over the labels of the whole step.
        last: Whether the step ends with it.
    """

    tensors: Batch
    weight: float
    last: bool


def micro_batches(learner: Learner) -> Iterator[MicroBatch]:
    """All of one adapter's training, in its order."""
    for batches in learner.batches():
        labels = sum(count_labels(batch) for batch in batches)
        for i, batch in enumerate(batches, start=1):
            yield MicroBatch(batch, 1 / labels, last=i == len(batches))


def grouped_by_tokens(batches: Sequence[Batch], most: int) -> list[list[int]]:
    """Indices of the batches in groups, those alike in length together.

    Args:
        batches: At least one.
        most: Tokens of a group that has more than one batch, padding to its longest included.
    """
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    groups: list[list[int]] = []
    rows = 0
    for i in sorted(range(len(batches)), key=lambda i: -lengths[i]):
        rows += len(batches[i]["input_ids"])
        if not groups or rows * lengths[groups[-1][0]] > most:
            groups.append([])
            rows = len(batches[i]["input_ids"])
        groups[-1].append(i)
    return groups


def joined(batches: Sequence[Batch], pad_id: int) -> Batch:
    """One batch of all rows, padded on the right to the longest."""
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    padding = {"input_ids": pad_id, "attention_mask": 0, "labels": IGNORED}
    return {
        name: torch.cat(
            [F.pad(b[name], (0, longest - b[name].shape[1]), value=value) for b in batches]
        )
        for name, value in padding.items()
    }
