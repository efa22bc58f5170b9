"""Trains one adapter at a time on a bench's base; reads and writes no file.

    trained = train(bench, settings, hyperparameters, report=...)
    release(bench, trained.model)                      see objectives/bench.py

`train` gives the base back itself when it raises. One step is one optimizer step and is defined in
samples (the effective batch), so the micro-batch decides memory and speed and nothing else, but
for dropout masks and float rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
import math
import time
from typing import Any
from typing import TYPE_CHECKING

from accelerate import Accelerator
from peft import PeftModel
import torch
from torch import nn
from torch import Tensor
from transformers import get_scheduler

from objectives.bench import Bench
from objectives.bench import new_adapter
from objectives.bench import release
from objectives.config import Hyperparameters
from objectives.config import TrainingSettings
from objectives.corpus import count_steps
from objectives.corpus import IGNORED
from objectives.corpus import steps
from objectives.score import label_losses
from objectives.score import validation_loss


if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

__all__ = [
    "Diverged",
    "OutOfMemory",
    "Trained",
    "TrainingFailed",
    "check_finite",
    "is_out_of_memory",
    "learning_rate_schedule",
    "step_batches",
    "told",
    "train",
    "validation_steps",
]

Batch = dict[str, Tensor]


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
        best_loss: The smallest validation loss seen.
        losses: Training loss of every step, nats per label token.
        steps: Optimizer steps.
        tokens: Tokens read in training, padding left out.
        seconds: Wall time of the loop with its validations; setting up is not in it.
    """

    model: PeftModel
    validation_loss: float
    best_loss: float
    losses: tuple[float, ...]
    steps: int
    tokens: int
    seconds: float


def train(
    bench: Bench,
    settings: TrainingSettings,
    hyperparameters: Hyperparameters,
    *,
    report: Callable[[int, float], None],
    losses: list[float] | None = None,
) -> Trained:
    """Makes an adapter and trains it. The same arguments give the same bits on a CPU.

    Args:
        bench: With nothing on its base.
        settings: What all trials have in common.
        hyperparameters: What a trial varies.
        report: Called with (step, validation loss) at `validation_steps`. It may raise, to end the
            training.
        losses: Gets the training loss of every step as it goes.

    Raises:
        Diverged: A training or validation loss was not finite.
        OutOfMemory: In whatever part of it.
        Exception: What `report` raised. In every case the base is free again.
    """
    losses = [] if losses is None else losses
    try:
        model = new_adapter(bench, settings, hyperparameters)
        return _fit(bench, model, settings, hyperparameters, losses, report)
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


def _fit(
    bench: Bench,
    model: PeftModel,
    settings: TrainingSettings,
    chosen: Hyperparameters,
    losses: list[float],
    report: Callable[[int, float], None],
) -> Trained:
    """The loop. Appends to `losses` as it goes, so that a failure knows its step."""
    n_steps = count_steps(len(bench.corpus.train), chosen.effective_batch, settings.epochs)
    due = validation_steps(n_steps, settings.validations)
    update = _Update.prepare(bench.accelerator, model, settings, chosen, n_steps)
    validated: list[float] = []
    tokens = 0
    start = time.perf_counter()
    for step, batches in enumerate(step_batches(bench, settings, chosen), start=1):
        loss = update.gradients(batches)
        check_finite(loss, "training", step, n_steps, chosen)
        update.apply()
        losses.append(loss)
        tokens += sum(int(batch["attention_mask"].sum()) for batch in batches)
        if step in due:
            loss = _validate(bench, model, settings)
            check_finite(loss, "validation", step, n_steps, chosen)
            validated.append(loss)
            report(step, loss)
    seconds = time.perf_counter() - start
    bench.accelerator.unwrap_model(update.model, keep_fp32_wrapper=False)
    return Trained(
        model, validated[-1], min(validated), tuple(losses), len(losses), tokens, seconds
    )


def step_batches(
    bench: Bench, settings: TrainingSettings, chosen: Hyperparameters
) -> Iterator[list[Batch]]:
    """A training's samples: the micro-batches of each optimizer step."""
    return steps(
        bench.corpus.train,
        effective_batch=chosen.effective_batch,
        micro_batch=settings.micro_batch,
        epochs=settings.epochs,
        seed=settings.seed,
        pad_id=bench.corpus.pad_id,
    )


def _validate(bench: Bench, model: PeftModel, settings: TrainingSettings) -> float:
    return validation_loss(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=settings.micro_batch,
        accelerator=bench.accelerator,
    )


@dataclass(frozen=True)
class _Update:
    """One optimizer step in two halves, with all that it needs."""

    accelerator: Accelerator
    model: nn.Module  # as prepared: under DDP this is not the PeftModel
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    clip: float

    @classmethod
    def prepare(
        cls,
        accelerator: Accelerator,
        model: PeftModel,
        settings: TrainingSettings,
        chosen: Hyperparameters,
        n_steps: int,
    ) -> _Update:
        model.train()
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
        )
        # not prepared: Accelerate would step it once per process
        scheduler = learning_rate_schedule(optimizer, settings, n_steps)
        prepared, wrapped = accelerator.prepare(model, optimizer)
        return cls(accelerator, prepared, wrapped, scheduler, settings.clip)

    def gradients(self, batches: list[Batch]) -> float:
        """Backward over all micro-batches of a step; the step's loss in nats per label token.

        Every rank sees the list of the whole step and takes its share, so the number of labels is
        known without asking the others. A rank left without a share would hang the others, so it
        goes over the first one with weight 0.
        """
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        labels = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)
        share, weight = (batches[rank::ranks], 1.0) if rank < len(batches) else (batches[:1], 0.0)
        total = torch.zeros((), device=self.accelerator.device)
        for i, batch in enumerate(share, start=1):
            with self._sync(last=i == len(share)):
                nats = weight * self._nats(batch)
                # DDP takes the mean over the ranks; the sum is wanted
                self.accelerator.backward(nats * ranks / labels)
            total += nats.detach()
        return float(self.accelerator.reduce(total, "sum")) / labels

    def _nats(self, batch: Batch) -> Tensor:
        on_device = {k: v.to(self.accelerator.device) for k, v in batch.items()}
        with self.accelerator.autocast():
            return label_losses(self.model, on_device).sum()

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between ranks once per step, with the last micro-batch."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def apply(self) -> None:
        """Clips, steps, and moves the learning rate on."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.accelerator.clip_grad_norm_(trainable, self.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, n_steps: int
) -> LRScheduler:
    """transformers' schedules, in optimizer steps; the warm-up rounded up as its Trainer does."""
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    warmup = math.ceil(settings.warmup * n_steps)
    scheduler: LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=n_steps
    )
    return scheduler


def check_finite(
    loss: float, which: str, step: int, n_steps: int, chosen: Hyperparameters
) -> None:
    """Raises `Diverged` unless the loss is a number."""
    if not math.isfinite(loss):
        raise Diverged(f"{which} loss was {loss} at step {step} of {n_steps} with {told(chosen)}")


def told(chosen: Hyperparameters) -> str:
    """The hyperparameters for a message."""
    return ", ".join(f"{name} {value}" for name, value in chosen.told().items())


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: CUDA has an exception for it, CPU and Metal only a text."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
