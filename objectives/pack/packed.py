"""Trains several adapters at once on a bench's base; reads and writes no file.

    learners = [Learner(bench, settings, chosen) for chosen in several]
    for number, validation in train_pack(learners): ...
    release(bench, bench.base)                                      see objectives/model/bench.py
    model = as_peft(learners[0])                                    to save it or to score it

One forward and one backward go over the rows of all adapters (on a CPU, of as many as its cache
takes). Each has its own `Learner`, random numbers and gradient, so its losses are those of
`lora.train` with the same hyperparameters, dropout included, but for float rounding: less than
1e-5 nats in float32, some 1e-3 in bfloat16. The one thing that they share is dropout that the base
itself has, as GPT-2 does and Llama does not.

    round      one micro-batch of every adapter; one forward, or one for each group of a CPU's
    step       of one adapter: as many rounds as its effective batch takes
    part       the rounds until the next validation, where those that are first wait for the others
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import math
import time

from peft import PeftModel
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F

from objectives.data.corpus import collate
from objectives.data.corpus import IGNORED
from objectives.errors import UserError
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.memory import is_out_of_memory
from objectives.pack.layers import Draws
from objectives.pack.layers import Layout
from objectives.pack.layers import NAME
from objectives.pack.layers import Pair
from objectives.pack.layers import Part
from objectives.pack.layers import place
from objectives.pack.layers import take_pairs
from objectives.scoring.score import by_length
from objectives.scoring.score import count_labels
from objectives.scoring.score import label_losses
from objectives.training.learner import Batch
from objectives.training.learner import Learner


__all__ = ["as_peft", "check_packable", "grouped_by_tokens", "train_pack"]

CPU_TOKENS = 1024  # of a forward; with more, a CPU core takes longer for each


def train_pack(learners: Sequence[Learner]) -> Iterator[tuple[int, Validation]]:
    """Makes an adapter for each and trains them together. The base keeps them.

    Args:
        learners: New, on one bench with nothing on its base, in a process that trains alone; with
            the same settings, whose `micro_batch` counts each adapter's samples.

    Yields:
        Which learner, and its validation. One that is pruned there leaves the pack. At the end
        all have an outcome; when memory runs out, all that had none get that.

    Raises:
        UserError: These adapters, or adapters in this process, cannot be trained together.
    """
    _check_process(learners[0].bench)
    try:
        yield from _Pack(learners).validations()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        for learner in learners:
            if learner.is_learning:
                learner.run_out_of_memory(len(learners))


def check_packable(learners: Sequence[Learner]) -> None:
    """Before anything is trained: one forward of these adapters with the shortest sample.

    Raises:
        UserError: See `train_pack`.
    """
    bench = learners[0].bench
    _check_process(bench)
    try:
        _Pack(learners).try_out()
    finally:
        release(bench, bench.base)


def as_peft(learner: Learner) -> PeftModel:
    """Puts a trained adapter on the base, where peft and lm-eval know it; `release` takes it off.

    Args:
        learner: From a pack that is no longer on the base.
    """
    base = learner.bench.base
    model = new_adapter(learner.bench, learner.settings, learner.chosen)
    with torch.no_grad():
        for name, trained in learner.parameters.items():
            base.get_parameter(name).copy_(trained)
    return model


def _check_process(bench: Bench) -> None:
    if bench.accelerator.num_processes > 1:
        raise UserError("--pack: a pack is trained by one process; leave --gpus-per-trial out")
    if bench.accelerator.scaler is not None:
        raise UserError(
            "--pack: float16 scales the loss by one factor, and adapters need one each; "
            'write dtype = "bfloat16" under [model], or leave --pack out'
        )


@dataclass(frozen=True)
class _MicroBatch:
    """Samples of one adapter.

    Attributes:
        tensors: On the CPU.
        weight: One over the labels of the whole step.
        last: Whether the step ends with it.
    """

    tensors: Batch
    weight: float
    last: bool


class _Pack:
    """Learners by their number, those that have ended among them."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = learners
        self._bench, self._settings = learners[0].bench, learners[0].settings
        self._layout = Layout()
        self._micro_batches = [_micro_batches(learner) for learner in learners]
        self._nats: list[list[Tensor]] = [[] for _ in learners]  # of the step that is under way

    def validations(self) -> Iterator[tuple[int, Validation]]:
        self._begin()
        for part in range(1, self._settings.validations + 1):
            while behind := self._behind(part):
                with self._timed(behind):
                    self._round(behind)
            if due := [n for n, each in enumerate(self._learners) if _is_due(each, part)]:
                with self._timed(due):
                    losses = self._validate(due)
                for n, loss in zip(due, losses, strict=True):
                    yield from self._validated(n, loss)

    def try_out(self) -> None:
        self._begin()
        shortest = min(self._bench.corpus.train, key=lambda sample: len(sample.input_ids))
        batch = collate([shortest], self._bench.corpus.pad_id)
        with torch.no_grad():
            self._losses(range(len(self._learners)), [batch] * len(self._learners))

    def _begin(self) -> None:
        start = time.perf_counter()
        place(self._bench.base, [self._pairs(each) for each in self._learners], self._layout)
        self._bench.base.train()
        for learner in self._learners:
            learner.seconds_setup = (time.perf_counter() - start) / len(self._learners)

    def _pairs(self, learner: Learner) -> dict[str, Pair]:
        """Exactly the adapter that `lora.train` begins with; the base is bare again."""
        new_adapter(self._bench, self._settings, learner.chosen)
        pairs = take_pairs(self._bench.base, Draws(self._bench.accelerator.device))
        release(self._bench, self._bench.base)
        parameters: dict[str, nn.Parameter] = {}
        for name, pair in pairs.items():  # as they are called in the base when peft has them there
            parameters[f"{name}.lora_A.{NAME}.weight"] = pair.A
            parameters[f"{name}.lora_B.{NAME}.weight"] = pair.B
        learner.begin(parameters)
        return pairs

    def _behind(self, part: int) -> list[int]:
        """Those in training that have not done the part."""
        parts = self._settings.validations
        ahead = [math.ceil(each.n_steps * part / parts) for each in self._learners]
        learning = [n for n, each in enumerate(self._learners) if each.is_learning]
        return [n for n in learning if self._learners[n].steps < ahead[n]]

    @contextmanager
    def _timed(self, numbers: Sequence[int]) -> Iterator[None]:
        start = time.perf_counter()
        yield
        for n in numbers:
            self._learners[n].seconds += (time.perf_counter() - start) / len(numbers)

    def _round(self, numbers: Sequence[int]) -> None:
        """A micro-batch of each, and the steps that end with it."""
        batches = [next(self._micro_batches[n]) for n in numbers]
        for group in self._groups([batch.tensors for batch in batches]):
            self._learn([numbers[i] for i in group], [batches[i] for i in group])

    def _learn(self, numbers: Sequence[int], batches: Sequence[_MicroBatch]) -> None:
        """One forward, one backward, the steps that end with it."""
        nats = self._losses(numbers, [batch.tensors for batch in batches])
        # gradients stay apart in a sum: no weight that learns is in more than one of its terms
        weighted = [each * batch.weight for each, batch in zip(nats, batches, strict=True)]
        self._bench.accelerator.backward(torch.stack(weighted).sum())
        for n, batch, each in zip(numbers, batches, nats, strict=True):
            self._nats[n].append(each.detach())
            if batch.last:
                loss = float(torch.stack(self._nats[n]).sum()) * batch.weight
                self._nats[n].clear()
                self._learners[n].step(loss)

    def _groups(self, batches: Sequence[Batch]) -> list[list[int]]:
        """Which batches go through the base together: all, or what stays in a CPU's cache."""
        if self._bench.accelerator.device.type != "cpu":
            return [list(range(len(batches)))]
        return grouped_by_tokens(batches, CPU_TOKENS)

    def _losses(self, numbers: Sequence[int], batches: Sequence[Batch]) -> list[Tensor]:
        """Of each adapter on its batch, in nats, summed over the labels."""
        accelerator = self._bench.accelerator
        self._layout.parts = tuple(
            Part(n, *batch["input_ids"].shape) for n, batch in zip(numbers, batches, strict=True)
        )
        with accelerator.autocast():
            rows = _joined(batches, self._bench.corpus.pad_id)
            losses = label_losses(self._bench.base, rows, accelerator.device)
        labels = [count_labels(batch) for batch in batches]
        return [part.sum() for part in torch.split(losses, labels)]

    def _validate(self, numbers: Sequence[int]) -> list[float]:
        """Validation losses as `score.validation_loss` gives them, of all in one pass."""
        self._bench.base.eval()
        nats, labels = torch.zeros(len(numbers), dtype=torch.float64), 0
        with torch.no_grad():
            for samples in by_length(self._bench.corpus.validation, self._settings.micro_batch):
                batch = collate(samples, self._bench.corpus.pad_id)
                batches = [batch] * len(numbers)
                for group in self._groups(batches):
                    each = self._losses([numbers[i] for i in group], [batches[i] for i in group])
                    nats[group] += torch.stack(each).cpu()
                labels += count_labels(batch)
        self._bench.base.train()
        return (nats / labels).tolist()

    def _validated(self, number: int, loss: float) -> Iterator[tuple[int, Validation]]:
        learner = self._learners[number]
        if learner.validated(loss):
            yield number, learner.validations[-1]
            if learner.is_learning and learner.steps == learner.n_steps:
                learner.finish()


def _is_due(learner: Learner, part: int) -> bool:
    return learner.is_due and learner.due[learner.steps] == part


def _micro_batches(learner: Learner) -> Iterator[_MicroBatch]:
    """All of one adapter's training, in its order."""
    for batches in learner.batches():
        labels = sum(count_labels(batch) for batch in batches)
        for i, batch in enumerate(batches, start=1):
            yield _MicroBatch(batch, 1 / labels, last=i == len(batches))


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


def _joined(batches: Sequence[Batch], pad_id: int) -> Batch:
    """One batch of all rows, padded on the right to the longest."""
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    padding = {"input_ids": pad_id, "attention_mask": 0, "labels": IGNORED}
    return {
        name: torch.cat(
            [F.pad(b[name], (0, longest - b[name].shape[1]), value=value) for b in batches]
        )
        for name, value in padding.items()
    }
