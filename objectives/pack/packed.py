"""Trains several adapters at once on a bench's base; reads and writes no file.

    results = train_pack(bench, settings, [first, second, third], report=...)
    model = as_peft(bench, settings, first, results[0].weights)     to save it or to score it
    release(bench, model)                                           see objectives/model/bench.py

One forward and one backward go over the rows of all adapters (on a CPU, of as many as its cache
takes). Each has its own samples in its own
order, its own random numbers, gradient, clipping, optimizer and schedule, so its losses are those
of `lora.train` with the same hyperparameters, dropout included, but for float rounding: less than
1e-5 nats in float32, some 1e-3 in bfloat16. The one thing that they share is dropout that the base
itself has, as GPT-2 does and Llama does not.

    round      one micro-batch of every adapter; one forward, or one for each group of a CPU's
    step       of one adapter: as many rounds as its effective batch takes
    part       the rounds until the next validation, where those that are first wait for the others
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import math
import time
from typing import TypeAlias

from peft import PeftModel
import torch
from torch import Tensor

from objectives.data.corpus import collate
from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.memory import is_out_of_memory
from objectives.pack.adapter import PackedAdapter
from objectives.pack.adapter import Weights
from objectives.pack.batches import Batch
from objectives.pack.batches import count_labels
from objectives.pack.batches import grouped_by_tokens
from objectives.pack.batches import joined
from objectives.pack.batches import MicroBatch
from objectives.pack.layers import Layout
from objectives.pack.layers import NAME
from objectives.pack.layers import PackedLinear
from objectives.pack.layers import Part
from objectives.pack.layers import place
from objectives.scoring.score import by_length
from objectives.scoring.score import label_losses
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings
from objectives.training import lora


__all__ = [
    "Left",
    "PackReport",
    "Result",
    "Trained",
    "as_peft",
    "check_packable",
    "train_pack",
]

CPU_TOKENS = 1024  # of a forward; with more, a CPU core takes longer for each

PackReport = Callable[[int, int, float], bool]
"""Adapter, step, validation loss -> whether the adapter is to leave the pack."""


@dataclass(frozen=True)
class Trained:
    """An adapter that has done all its steps; what `lora.Trained` says, without a model.

    Attributes:
        weights: A and B on the CPU; see `as_peft`.
        validation_loss: At the end, nats per label token.
        losses: Training loss of every step, nats per label token.
        steps: Optimizer steps.
        tokens: Tokens read in training, padding left out.
        seconds_setup: The adapter's equal part of the wall time until the first round.
        seconds: The adapter's part of the wall time of rounds and validations: of each an equal
            part for everyone who took part in it. All adapters' add up to the pack's time.
    """

    weights: Weights
    validation_loss: float
    losses: tuple[float, ...]
    steps: int
    tokens: int
    seconds_setup: float
    seconds: float


@dataclass(frozen=True)
class Left:
    """The report said so; seconds as in `Trained`, set-up included."""

    seconds: float


Result: TypeAlias = Trained | Left | lora.TrainingFailed


def train_pack(
    bench: Bench,
    settings: TrainingSettings,
    chosen: Sequence[Hyperparameters],
    *,
    report: PackReport,
) -> list[Result]:
    """Makes an adapter for each and trains them together. The base is free again afterwards.

    Args:
        bench: With nothing on its base; in a process that trains alone.
        settings: What all trials have in common; `micro_batch` counts each adapter's samples.
        chosen: What the adapters have each for itself.
        report: Called with the number of the adapter, its step and its validation loss at
            `lora.validation_steps`.

    Returns:
        One for each, in order. A `lora.Diverged` is that adapter's own; when memory runs out, all
        that are still in training get a `lora.OutOfMemory`.

    Raises:
        UserError: These adapters, or adapters in this process, cannot be trained together.
        Exception: What `report` raised.
    """
    _check_process(bench)
    pack = _Pack(bench, settings, chosen)
    try:
        pack.train(report)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        pack.out_of_memory()
    finally:
        pack.clear()
        release(bench, bench.base)
    return pack.results()


def check_packable(
    bench: Bench, settings: TrainingSettings, chosen: Sequence[Hyperparameters]
) -> None:
    """Before anything is trained: one forward of these adapters with the shortest sample.

    Raises:
        UserError: See `train_pack`.
    """
    _check_process(bench)
    pack = _Pack(bench, settings, chosen)
    try:
        pack.try_out()
    finally:
        pack.clear()
        release(bench, bench.base)


def as_peft(
    bench: Bench, settings: TrainingSettings, chosen: Hyperparameters, weights: Weights
) -> PeftModel:
    """Puts a trained adapter on the base, where peft and lm-eval know it; `release` takes it off.

    Args:
        bench: With nothing on its base.
        settings: That it was trained with.
        chosen: That it was trained with.
        weights: Its own.
    """
    model = new_adapter(bench, settings, chosen)
    with torch.no_grad():
        for name, (a, b) in weights.items():
            layer = bench.base.get_submodule(name)
            layer.lora_A[NAME].weight.copy_(a)
            layer.lora_B[NAME].weight.copy_(b)
    return model


def _check_process(bench: Bench) -> None:
    if bench.accelerator.num_processes > 1:
        raise UserError("--pack: a pack is trained by one process; leave --gpus-per-trial out")
    if bench.accelerator.scaler is not None:
        raise UserError(
            "--pack: float16 scales the loss by one factor, and adapters need one each; "
            'write dtype = "bfloat16" under [model], or leave --pack out'
        )


class _Pack:
    """The adapters that are in training, and what became of the others."""

    def __init__(
        self, bench: Bench, settings: TrainingSettings, chosen: Sequence[Hyperparameters]
    ) -> None:
        self._bench, self._settings, self._chosen = bench, settings, chosen
        self._adapters: dict[int, PackedAdapter] = {}  # those in training
        self._layers: list[PackedLinear] = []
        self._layout = Layout()
        self._results: dict[int, Result] = {}
        self._setup = 0.0  # seconds of each
        self._seconds = [0.0] * len(chosen)

    def train(self, report: PackReport) -> None:
        self._make()
        for part in range(1, self._settings.validations + 1):
            while behind := self._behind(part):
                with self._timed(behind):
                    self._round(behind)
            if due := [a for a in self._adapters.values() if a.due[a.steps] == part]:
                with self._timed(due):
                    losses = self._validate([a.number for a in due])
                for adapter, loss in zip(due, losses, strict=True):
                    self._validated(adapter, loss, report)

    def try_out(self) -> None:
        self._make()
        shortest = min(self._bench.corpus.train, key=lambda sample: len(sample.input_ids))
        batch = collate([shortest], self._bench.corpus.pad_id)
        with torch.no_grad():
            self._nats(list(self._adapters), [batch] * len(self._adapters))

    def results(self) -> list[Result]:
        return [self._results[number] for number in range(len(self._chosen))]

    def out_of_memory(self) -> None:
        """For all that have no result."""
        for number, chosen in enumerate(self._chosen):
            step = self._adapters[number].steps + 1 if number in self._adapters else 1
            message = (
                f"out of memory at step {step} in a pack of {len(self._chosen)} with micro-batch "
                f"{self._settings.micro_batch} each and {lora.told(chosen)}"
            )
            self._results.setdefault(number, lora.OutOfMemory(message))

    def clear(self) -> None:
        """Lets go of everything on the device, so that the memory can be had again."""
        self._adapters.clear()
        self._layers.clear()

    def _make(self) -> None:
        start = time.perf_counter()
        for number, chosen in enumerate(self._chosen):
            made = PackedAdapter.make(number, self._bench, self._settings, chosen)
            self._adapters[number] = made
        pairs = {number: adapter.pairs for number, adapter in self._adapters.items()}
        self._layers = place(self._bench.base, pairs, self._layout)
        self._bench.base.train()
        self._setup = (time.perf_counter() - start) / len(self._chosen)

    def _behind(self, part: int) -> list[PackedAdapter]:
        """The adapters that have not done the part."""
        parts = self._settings.validations
        ahead = {n: math.ceil(a.n_steps * part / parts) for n, a in self._adapters.items()}
        return [a for n, a in self._adapters.items() if a.steps < ahead[n]]

    @contextmanager
    def _timed(self, adapters: Sequence[PackedAdapter]) -> Iterator[None]:
        start = time.perf_counter()
        yield
        for adapter in adapters:
            self._seconds[adapter.number] += (time.perf_counter() - start) / len(adapters)

    def _round(self, adapters: Sequence[PackedAdapter]) -> None:
        """A micro-batch of each, and the steps that end with it."""
        batches = [next(adapter.micro_batches) for adapter in adapters]
        for group in self._groups([batch.tensors for batch in batches]):
            self._learn([adapters[i] for i in group], [batches[i] for i in group])

    def _learn(self, adapters: Sequence[PackedAdapter], batches: Sequence[MicroBatch]) -> None:
        """One forward, one backward, the steps that end with it."""
        nats = self._nats([a.number for a in adapters], [batch.tensors for batch in batches])
        # gradients stay apart in a sum: no weight that learns is in more than one of its terms
        weighted = [n * batch.weight for n, batch in zip(nats, batches, strict=True)]
        self._bench.accelerator.backward(torch.stack(weighted).sum())
        for adapter, batch, each in zip(adapters, batches, nats, strict=True):
            try:
                adapter.learn(batch, each.detach())
            except lora.Diverged as error:
                self._leave(adapter, error)

    def _groups(self, batches: Sequence[Batch]) -> list[list[int]]:
        """Which batches go through the base together: all, or what stays in a CPU's cache."""
        if self._bench.accelerator.device.type != "cpu":
            return [list(range(len(batches)))]
        return grouped_by_tokens(batches, CPU_TOKENS)

    def _nats(self, numbers: Sequence[int], batches: Sequence[Batch]) -> list[Tensor]:
        """The loss of each adapter on its batch, summed over the labels."""
        self._layout.parts = tuple(
            Part(number, *batch["input_ids"].shape)
            for number, batch in zip(numbers, batches, strict=True)
        )
        losses = self._losses(joined(batches, self._bench.corpus.pad_id))
        labels = [count_labels(batch) for batch in batches]
        return [part.sum() for part in torch.split(losses, labels)]

    def _losses(self, batch: Batch) -> Tensor:
        accelerator = self._bench.accelerator
        with accelerator.autocast():
            return label_losses(self._bench.base, batch, accelerator.device)

    def _validate(self, numbers: Sequence[int]) -> list[float]:
        """Validation losses as `score.validation_loss` gives them, of all in one pass."""
        self._bench.base.eval()
        nats, labels = torch.zeros(len(numbers), dtype=torch.float64), 0
        with torch.no_grad():
            for samples in by_length(self._bench.corpus.validation, self._settings.micro_batch):
                batch = collate(samples, self._bench.corpus.pad_id)
                batches = [batch] * len(numbers)
                for group in self._groups(batches):
                    each = self._nats([numbers[i] for i in group], [batches[i] for i in group])
                    nats[group] += torch.stack(each).cpu()
                labels += count_labels(batch)
        self._bench.base.train()
        return (nats / labels).tolist()

    def _validated(self, adapter: PackedAdapter, loss: float, report: PackReport) -> None:
        try:
            lora.check_finite(loss, "validation", adapter.steps, adapter.n_steps, adapter.chosen)
        except lora.Diverged as error:
            return self._leave(adapter, error)
        adapter.validated.append(loss)
        if report(adapter.number, adapter.steps, loss):
            self._leave(adapter, Left(self._setup + self._seconds[adapter.number]))
        elif adapter.steps == adapter.n_steps:
            self._leave(adapter, self._trained(adapter))

    def _trained(self, adapter: PackedAdapter) -> Trained:
        return Trained(
            weights=adapter.weights(),
            validation_loss=adapter.validated[-1],
            losses=tuple(adapter.losses),
            steps=adapter.steps,
            tokens=adapter.tokens,
            seconds_setup=self._setup,
            seconds=self._seconds[adapter.number],
        )

    def _leave(self, adapter: PackedAdapter, result: Result) -> None:
        """Its rows, weights and optimizer are no longer there."""
        self._results[adapter.number] = result
        del self._adapters[adapter.number]
        for layer in self._layers:
            layer.drop(adapter.number)
