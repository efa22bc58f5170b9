"""Trains one adapter at a time on a bench's base; reads and writes no file but its checkpoint.

    learner = Learner(bench, settings, hyperparameters)
    for validation in train(learner): ...
    release(bench, bench.base)                see objectives/model/bench.py

One step is one optimizer step and is defined in samples (the effective batch), so the micro-batch
decides memory and speed and nothing else, but for dropout masks and float rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import nullcontext
import time
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
import torch
from torch import nn
from transformers.integrations import activate_neftune
from transformers.integrations import deactivate_neftune

from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.memory import DeviceFull
from objectives.model.memory import raising_device_full
from objectives.model.sharded import beside_ddp
from objectives.model.sharded import is_sharded
from objectives.scoring.criterion import Criterion
from objectives.scoring.criterion import measure
from objectives.scoring.criterion import Measured
from objectives.scoring.losses import share_of
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint import Checkpoint
from objectives.training.checkpoint import State
from objectives.training.learner import Batch
from objectives.training.learner import Learner


__all__ = ["train", "validate"]

SAVE_SECONDS = 600.0  # between two checkpoints, and the step that is under way then
LOOK_STEPS = 8  # of a gang, between two looks at the clock: its ranks wait for each other there


def train(learner: Learner, checkpoint: Checkpoint | None = None) -> Iterator[Validation]:
    """Makes the adapter and trains it; the base keeps it. An equal learner gets equal bits.

    Whoever wants no more of it takes no more validations. Otherwise the learner has `ended` at
    the end, also where a loss was not finite or memory ran out.

    Args:
        learner: New, with nothing on the base of its bench. In a gang every rank has its own, and
            all of them end at the same validation.
        checkpoint: Written before each validation is given, and every `SAVE_SECONDS` between two.
            Where there is one, the steps up to there are not taken again, and their validations
            are given again; the rest is to the bit what it would have been.

    Yields:
        The validations, at `learner.due`.
    """
    try:
        with raising_device_full():
            yield from _validations(learner, checkpoint)
    except DeviceFull:
        learner.run_out_of_memory()


def _validations(learner: Learner, checkpoint: Checkpoint | None) -> Iterator[Validation]:
    began = time.perf_counter()
    model = _prepared(learner)
    if checkpoint is not None and (state := _saved(checkpoint, learner.bench.accelerator)):
        learner.resume(state)
    ready = saved = time.perf_counter()
    learner.seconds_setup = ready - began
    yield from tuple(learner.validations)
    for batches in learner.batches():
        learner.step(_gradients(learner, model, batches))
        if learner.is_due:
            valid = learner.validated(
                *validate(learner.bench, learner.model, learner.settings, learner.criterion)
            )
            learner.seconds = time.perf_counter() - ready
            if valid:
                _save(checkpoint, learner)
                yield learner.validations[-1]
                saved = time.perf_counter()
        elif checkpoint is not None and learner.is_learning and _is_late(learner, saved):
            saved = time.perf_counter()
            learner.seconds = saved - ready
            _save(checkpoint, learner)
    learner.seconds = time.perf_counter() - ready
    if learner.is_learning:
        learner.finish()


def _prepared(learner: Learner) -> nn.Module:
    """The base with a new adapter, as the ranks share it: under DDP that is not the PeftModel."""
    accelerator = learner.bench.accelerator
    learner.model = new_adapter(learner.bench, learner.settings, learner.chosen)
    _change_forward(learner)
    learner.model.train()
    if is_sharded(learner.model):  # Accelerate refuses such a model on GPUs
        model: nn.Module = beside_ddp(learner.model)
    else:
        model = accelerator.prepare(learner.model)
    learner.begin({name: p for name, p in model.named_parameters() if p.requires_grad})
    return model


def _change_forward(learner: Learner) -> None:
    """Until the base is released."""
    base, undo = learner.bench.base, learner.bench.undo
    if learner.settings.gradient_checkpointing is True and base.supports_gradient_checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
        base.disable_input_require_grads()  # which the other kind needs
        undo.callback(base.activation_checkpointing_disable)
    if learner.own.neftune_noise_alpha > 0:
        noise = activate_neftune(learner.model, learner.own.neftune_noise_alpha)
        undo.callback(deactivate_neftune, learner.model, noise)


def _saved(checkpoint: Checkpoint, accelerator: Accelerator) -> State | None:
    """Rank 0 looks, for all: another worker may have the file replaced or deleted."""
    found = [checkpoint.load() if accelerator.is_main_process else None]
    broadcast_object_list(found)
    return found[0]


def _is_late(learner: Learner, saved: float) -> bool:
    """Whether the last checkpoint is old by the clock of any rank: all write together."""
    accelerator = learner.bench.accelerator
    late = time.perf_counter() - saved > SAVE_SECONDS
    if accelerator.num_processes == 1:
        return late
    if learner.steps_done % LOOK_STEPS:
        return False
    return bool(accelerator.reduce(torch.tensor(float(late), device=accelerator.device), "sum"))


def _save(checkpoint: Checkpoint | None, learner: Learner) -> None:
    if checkpoint is not None:
        state = learner.state()
        if learner.bench.accelerator.is_main_process:
            checkpoint.save(state)


def _gradients(learner: Learner, model: nn.Module, batches: list[Batch]) -> float:
    """Backward over all micro-batches of a step; the step's loss.

    Every rank sees the list of the whole step and takes its share, so the number of labels or
    preferences is known without asking the others.
    """
    accelerator, criterion = learner.bench.accelerator, learner.criterion
    units = sum(criterion.count(batch) for batch in batches)
    share = share_of(batches, accelerator)
    total = torch.zeros((), device=accelerator.device)
    for i, (batch, weight) in enumerate(share, start=1):
        with _sync(accelerator, model, last=i == len(share)):
            with accelerator.autocast():
                losses = criterion.losses(model, batch, accelerator.device).values
                loss = weight * losses.sum()
            # DDP takes the mean over the ranks; the sum is wanted
            accelerator.backward(loss * accelerator.num_processes / units)
        total += loss.detach()
    return float(accelerator.reduce(total, "sum")) / units


def _sync(
    accelerator: Accelerator, model: nn.Module, *, last: bool
) -> AbstractContextManager[Any]:
    """Gradients travel between ranks once per step, with the last micro-batch."""
    return nullcontext() if last else accelerator.no_sync(model)


def validate(
    bench: Bench, model: nn.Module, settings: TrainingSettings, criterion: Criterion
) -> Measured:
    """A model on the bench's validation samples; the same on all ranks."""
    return measure(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=settings.micro_batch,
        accelerator=bench.accelerator,
        criterion=criterion,
    )
