"""Samples and their batches, a list of micro-batches for each optimizer step; reads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
import random
from typing import final

import numpy as np
from numpy.typing import ArrayLike
import torch


__all__ = [
    "IGNORED",
    "Asked",
    "Corpus",
    "Preference",
    "Sample",
    "Samples",
    "collate",
    "count_steps",
    "rows_of",
    "step_batches",
]

IGNORED = -100  # the label that torch's cross entropy leaves out
WINDOW = 8  # steps whose samples are sorted by length together


@final
class Sample:
    """One row as tokens. Two equal ones are one, as of any value.

    Attributes:
        both: `input_ids` and `labels`, int32 of shape (2, tokens): as Python's numbers they would
            take ten times the memory, which every process needs.
    """

    __slots__ = ("both",)

    def __init__(self, input_ids: ArrayLike, labels: ArrayLike) -> None:
        """Copies them.

        Args:
            input_ids: BOS (where the tokenizer puts one), prompt, answer, EOS; cut at max_length.
            labels: The same, -100 where the loss does not count the token; not shifted.
        """
        self.both = np.array([input_ids, labels], np.int32)
        self.both.setflags(write=False)

    @property
    def input_ids(self) -> tuple[int, ...]:
        """As Python's numbers."""
        return tuple(self.both[0].tolist())

    @property
    def labels(self) -> tuple[int, ...]:
        """As Python's numbers."""
        return tuple(self.both[1].tolist())

    def __len__(self) -> int:
        return len(self.both[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and np.array_equal(self.both, other.both)

    def __hash__(self) -> int:
        return hash(self.both.tobytes())

    def __repr__(self) -> str:
        return f"Sample({self.input_ids}, {self.labels})"


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, one of them preferred.

    Attributes:
        chosen: The prompt, without labels, and the better answer.
        rejected: The same with the worse answer.
        reference: Log-probabilities (nats) that the base gives the two answers, or None as long as
            it has not been asked.
    """

    chosen: Sample
    rejected: Sample
    reference: tuple[float, float] | None = None

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class Asked:
    """What stands before the first answer of a validation row, and that answer; as tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


Samples = Sequence[Sample | Preference]


@dataclass(frozen=True)
class Corpus:
    """The samples of an experiment.

    Attributes:
        train: To learn from.
        validation: To take the validation loss on.
        pad_id: Token behind the end of short samples; never attended to.
        fingerprint: Equal for equal samples; 16 hexadecimal digits.
        notes: What of the rows is not learned from, or twice, or is no test; a line each.
        asked: A few prompts of the validation, from its beginning to its end; none of texts.
        end: Token at which an answer is learned to end; None: the chat template has none.
        is_chat: Whether a chat template has written the rows out.
    """

    train: tuple[Sample | Preference, ...]
    validation: tuple[Sample | Preference, ...]
    pad_id: int
    fingerprint: str
    notes: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()
    end: int | None = None
    is_chat: bool = False


def count_steps(n_samples: int, effective_batch: int, epochs: float) -> int:
    """The number of optimizer steps `step_batches` yields, at least 1."""
    return max(1, round(max(1, n_samples // effective_batch) * epochs))


def step_batches(
    samples: Samples,
    *,
    effective_batch: int,  # samples per optimizer step
    micro_batch: int,  # samples per forward
    epochs: float,
    seed: int,
    pad_id: int,
    skip: int = 0,  # steps that are not wanted again
) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Batches the samples: one list of micro-batches for every optimizer step.

    A step's samples depend on the seed and the effective batch, not on the micro-batch. An epoch
    takes no sample twice; what is left behind the last full step is dropped, unless there is no
    full step: then one step takes all samples. The samples of neighbouring steps are sorted by
    length, so that little is padded, and the steps shuffled again.
    """
    per_epoch = count_steps(len(samples), effective_batch, 1.0)
    total = count_steps(len(samples), effective_batch, epochs)
    lengths = [len(sample) for sample in samples]
    for done in range(skip - skip % per_epoch, total, per_epoch):
        rng = random.Random(f"{seed}:{done}")  # from text: the same in every Python
        epoch = _epoch(lengths, effective_batch, rng)
        for step in islice(epoch, max(0, skip - done), total - done):
            chunks = _chunks(step, micro_batch)
            yield [collate([samples[i] for i in chunk], pad_id) for chunk in chunks]


def collate(samples: Samples, pad_id: int) -> dict[str, torch.Tensor]:
    """Pads samples on the right. Of preferences come all chosen rows, then all rejected ones.

    Returns:
        input_ids, attention_mask and labels, each int64 of shape (rows, longest); of preferences
        that have a reference also `reference`, float32 of shape (rows,).
    """
    rows = rows_of(samples)
    lengths = np.array([len(row) for row in rows])
    ids, labels = np.full((2, len(rows), lengths.max()), [[[pad_id]], [[IGNORED]]])
    for i, row in enumerate(rows):
        ids[i, : len(row)], labels[i, : len(row)] = row.both
    mask = np.arange(lengths.max()) < lengths[:, None]
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask).long(),
        "labels": torch.from_numpy(labels),
    }
    asked = [s.reference for s in samples if isinstance(s, Preference) and s.reference is not None]
    return batch | ({"reference": torch.tensor(asked).T.flatten()} if asked else {})


def rows_of(samples: Samples) -> list[Sample]:
    """What a model reads of them: of preferences all chosen rows, then all rejected ones."""
    pairs = [sample for sample in samples if isinstance(sample, Preference)]
    alone = [sample for sample in samples if isinstance(sample, Sample)]
    return alone + [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]


def _epoch(lengths: Sequence[int], batch: int, rng: random.Random) -> Iterator[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    full = len(order) - len(order) % batch or len(order)
    for window in _chunks(order[:full], WINDOW * batch):
        in_window = list(_chunks(sorted(window, key=lambda i: lengths[i]), batch))
        rng.shuffle(in_window)
        yield from in_window


def _chunks(items: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(items[i : i + size]) for i in range(0, len(items), size))
