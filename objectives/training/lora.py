"""Trains one adapter at a time on a bench's base; reads and writes no file.

    trained = train(bench, settings, hyperparameters, report=...)
    release(bench, trained.model)                      see objectives/model/bench.py

`train` gives the base back itself when it raises. One step is one optimizer step and is defined in
samples (the effective batch), so the micro-batch decides memory and speed and nothing else, but
for dropout masks and float rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
import math
import time

from accelerate.utils import gather_object
from peft import PeftModel
from torch import nn

from objectives.data.corpus import count_steps
from objectives.data.corpus import steps
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.memory import is_out_of_memory
from objectives.scoring.score import validation_loss
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings
from objectives.training.checkpoint import generators
from objectives.training.checkpoint import restore_generators
from objectives.training.checkpoint import State
from objectives.training.update import Batch
from objectives.training.update import Update


__all__ = [
    "Diverged",
    "OutOfMemory",
    "Trained",
    "TrainingFailed",
    "check_finite",
    "step_batches",
    "told",
    "train",
    "validate",
    "validation_steps",
]

Report = Callable[[int, float], None]
Keep = Callable[[State], None]


class TrainingFailed(RuntimeError):
    """The message says what happened, at which step, with what."""


class Diverged(TrainingFailed):
    """A loss was not a finite number."""


class OutOfMemory(TrainingFailed):
    """The device (or the machine) had no memory left."""


@dataclass(frozen=True)
class Trained:
    """A finished training. `bench.release` takes `model` off the base.

    Attributes:
        model: The base with the adapter on it, unwrapped, in training mode.
        validation_loss: At the end, nats per label token.
        losses: Training loss of every step, nats per label token.
        steps: Optimizer steps.
        tokens: Tokens read in training, padding left out.
        seconds: Wall time of the loop with its validations; setting up is not in it.
        seconds_setup: Wall time until the first step.
        start: Steps of these that were done before, by a training which this one continued.
    """

    model: PeftModel
    validation_loss: float
    losses: tuple[float, ...]
    steps: int
    tokens: int
    seconds: float
    seconds_setup: float
    start: int


def train(
    bench: Bench,
    settings: TrainingSettings,
    hyperparameters: Hyperparameters,
    *,
    report: Report,
    losses: list[float] | None = None,
    start: State | None = None,
    keep: Keep | None = None,
) -> Trained:
    """Makes an adapter and trains it. The same arguments give the same bits on a CPU.

    Args:
        bench: With nothing on its base.
        settings: What all trials have in common.
        hyperparameters: What a trial varies.
        report: Called with (step, validation loss) at `validation_steps`. It may raise, to end the
            training.
        losses: Gets the training loss of every step as it goes.
        start: Of the same training, kept earlier: the steps up to there are not taken again, but
            reported again. The rest is to the bit what it would have been.
        keep: Called before each report with what `start` may be another time; write it down there
            and then, for the training goes on with the same tensors.

    Raises:
        Diverged: A training or validation loss was not finite.
        OutOfMemory: In whatever part of it.
        Exception: What `report` or `keep` raised. In every case the base is free again.
    """
    losses = [] if losses is None else losses
    try:
        return _Training(bench, settings, hyperparameters, report, keep, losses).run(start)
    except BaseException as error:
        release(bench, bench.base)
        if isinstance(error, Exception) and is_out_of_memory(error):
            raise OutOfMemory(
                f"out of memory at step {len(losses) + 1} with micro-batch {settings.micro_batch} "
                f"and {told(hyperparameters)}"
            ) from None
        raise


def validation_steps(n_steps: int, validations: int) -> dict[int, int]:
    """When the validation loss is taken: step -> how many `validations`-ths are done then.

    The share and not the step is what trials with different effective batches have in common, so
    it is what a pruner compares. The last step is always among them; a training shorter than
    `validations` steps has fewer.
    """
    return {math.ceil(n_steps * part / validations): part for part in range(1, validations + 1)}


@dataclass
class _Training:
    """One training, and how far it is. Fills `losses` as it goes: a failure knows its step."""

    bench: Bench
    settings: TrainingSettings
    chosen: Hyperparameters
    report: Report
    keep: Keep | None
    losses: list[float]
    validations: list[tuple[int, float]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0  # of a training that this one continues

    def run(self, start: State | None) -> Trained:
        began = time.perf_counter()
        model = new_adapter(self.bench, self.settings, self.chosen)
        update = Update.prepare(
            self.bench.accelerator, model, self.settings, self.chosen, self._n_steps
        )
        if start is not None:
            self._resume(update, start)
        done, ready = len(self.losses), time.perf_counter()
        self._loop(model, update, ready - self.seconds)
        seconds = self.seconds + time.perf_counter() - ready
        self.bench.accelerator.unwrap_model(update.model, keep_fp32_wrapper=False)
        return Trained(
            model=model,
            validation_loss=self.validations[-1][1],
            losses=tuple(self.losses),
            steps=len(self.losses),
            tokens=self.tokens,
            seconds=seconds,
            seconds_setup=ready - began,
            start=done,
        )

    @property
    def _n_steps(self) -> int:
        samples = len(self.bench.corpus.train)
        return count_steps(samples, self.chosen.effective_batch, self.settings.epochs)

    def _resume(self, update: Update, start: State) -> None:
        """Puts everything where it was, and tells the reports as if they had just been made."""
        update.restore(start.update)
        restore_generators(start.generators[self.bench.accelerator.process_index])
        self.tokens, self.seconds = start.tokens, start.seconds
        for step, loss in start.validations:
            self.losses += start.losses[len(self.losses) : step]
            self.validations.append((step, loss))
            self.report(step, loss)

    def _loop(self, model: PeftModel, update: Update, began: float) -> None:
        due = validation_steps(self._n_steps, self.settings.validations)
        done = len(self.losses)
        batches = step_batches(self.bench, self.settings, self.chosen, skip=done)
        for step, samples in enumerate(batches, start=done + 1):
            self._step(update, step, samples)
            if step in due:
                loss = validate(self.bench, model, self.settings)
                check_finite(loss, "validation", step, self._n_steps, self.chosen)
                self.validations.append((step, loss))
                if self.keep is not None:
                    self.keep(self._state(update, time.perf_counter() - began))
                self.report(step, loss)

    def _step(self, update: Update, step: int, batches: list[Batch]) -> None:
        loss = update.gradients(batches)
        check_finite(loss, "training", step, self._n_steps, self.chosen)
        update.apply()
        self.losses.append(loss)
        self.tokens += sum(int(batch["attention_mask"].sum()) for batch in batches)

    def _state(self, update: Update, seconds: float) -> State:
        return State(
            step=len(self.losses),
            tokens=self.tokens,
            seconds=seconds,
            losses=tuple(self.losses),
            validations=tuple(self.validations),
            update=update.state(),
            generators=gather_object([generators(self.bench.accelerator.device)]),
        )


def step_batches(
    bench: Bench, settings: TrainingSettings, chosen: Hyperparameters, skip: int = 0
) -> Iterator[list[Batch]]:
    """A training's samples: the micro-batches of each optimizer step after the first `skip`."""
    return steps(
        bench.corpus.train,
        effective_batch=chosen.effective_batch,
        micro_batch=settings.micro_batch,
        epochs=settings.epochs,
        seed=settings.seed,
        pad_id=bench.corpus.pad_id,
        skip=skip,
    )


def validate(bench: Bench, model: nn.Module, settings: TrainingSettings) -> float:
    """The validation loss of a model on the bench, nats per label token; the same on all ranks."""
    return validation_loss(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=settings.micro_batch,
        accelerator=bench.accelerator,
    )


def check_finite(
    loss: float, which: str, step: int, n_steps: int, chosen: Hyperparameters
) -> None:
    """Raises `Diverged` unless the loss is a number."""
    if not math.isfinite(loss):
        raise Diverged(f"{which} loss was {loss} at step {step} of {n_steps} with {told(chosen)}")


def told(chosen: Hyperparameters) -> str:
    """The hyperparameters for a message."""
    return ", ".join(f"{name} {value}" for name, value in chosen.told().items())
