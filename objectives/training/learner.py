"""One adapter on its way: samples, optimizer, schedule, clipping, losses; runs no forward itself.

    learner = Learner(bench, settings, chosen)
    for validation in train(learner):         of training/loop.py; a pack's is of pack/packed.py
        if enough(validation):
            learner.prune()
            break
    learner.ended

Whoever trains puts the adapter on the base, hands its parameters to `begin`, and for every step of
`batches` leaves gradients on them and calls `step`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import math
from typing import Any
from typing import TYPE_CHECKING

from accelerate.utils import gather_object
from peft import PeftModel
import torch
from torch import nn
from torch import Tensor
from transformers import get_scheduler

from objectives.data.corpus import count_steps
from objectives.data.corpus import step_batches
from objectives.job import Ended
from objectives.job import Failed
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Training
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.memory import peak_memory
from objectives.model.padding_free import end_to_end
from objectives.scoring.criterion import criterion
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint import generators
from objectives.training.checkpoint import restore_generators
from objectives.training.checkpoint import samples_per_forward
from objectives.training.checkpoint import State
from objectives.training.optimizers import make_optimizer


if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["Batch", "Learner", "epochs_of", "validation_steps"]

Batch = dict[str, Tensor]
"""`input_ids`, `labels` and `attention_mask` or `position_ids`; each (rows, tokens), on a CPU."""


class Learner:
    """An adapter's training, and how far it is.

    Attributes:
        bench: Its base and samples.
        settings: What all trials have in common.
        chosen: What the trial has for itself.
        own: The settings with what the trial has for itself over them.
        n_steps: Optimizer steps in all.
        due: Step -> part of the training that is validated after it.
        model: The base with the adapter on it, where that trains alone.
        parameters: What learns, by name.
        criterion: What is lowered.
        losses: Training loss of every step done, as `Validation.loss`.
        validations: So far.
        tokens: Read so far, padding left out; those of a step from its beginning.
        resumed_at: Steps that an earlier, interrupted training had done; 0 from zero.
        seconds_setup: Wall time until the first step; in a pack an equal part of it.
        seconds: Wall time of its own steps and validations; in a pack an equal part of each that
            it took part in, so that all adapters' add up to the pack's time.
        seconds_before: Those of an earlier, interrupted training that it goes on from.
    """

    model: PeftModel

    def __init__(self, bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> None:
        """Puts nothing on the device."""
        self.bench, self.settings, self.chosen = bench, settings, chosen
        self.own = chosen.over(settings)
        samples = len(bench.corpus.train)
        self._epochs = epochs_of(settings, samples, chosen.effective_batch)
        self.n_steps = count_steps(samples, chosen.effective_batch, self._epochs)
        self.due = validation_steps(self.n_steps, settings.validations)
        self.parameters: dict[str, nn.Parameter] = {}
        self.criterion = criterion(self.own)
        self.losses: list[float] = []
        self.validations: list[Validation] = []
        self.tokens = self.resumed_at = 0
        self.seconds_setup = self.seconds = self.seconds_before = 0.0
        self._ended: Ended | None = None

    @property
    def steps_done(self) -> int:
        """Optimizer steps done."""
        return len(self.losses)

    @property
    def is_learning(self) -> bool:
        """Whether it has not ended."""
        return self._ended is None

    @property
    def ended(self) -> Ended:
        """How it ended."""
        assert self._ended is not None, "the training has not ended"
        return self._ended

    def begin(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Makes optimizer and schedule of the adapter's parameters."""
        accelerator, chosen = self.bench.accelerator, self.chosen
        self.parameters = dict(parameters)
        optimizer = make_optimizer(
            self.own.optimizer,
            self.parameters,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            loraplus_lr_ratio=self.own.loraplus_lr_ratio,
        )
        if accelerator.scaler is not None:  # the trial before has left its scale there
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        # not prepared: Accelerate would step it once per process
        self._schedule = _learning_rates(optimizer, self.own, self.n_steps)
        self._optimizer = accelerator.prepare(optimizer)

    def batches(self) -> Iterator[list[Batch]]:
        """The micro-batches of each step to come, until it has ended."""
        for batches in step_batches(
            self.bench.corpus.train,
            effective_batch=self.chosen.effective_batch,
            micro_batch=samples_per_forward(self.bench, self.settings, self.chosen),
            epochs=self._epochs,
            seed=self.settings.seed,
            pad_id=self.bench.corpus.pad_id,
            skip=self.steps_done,
        ):
            self.tokens += sum(int(batch["attention_mask"].sum()) for batch in batches)
            yield [end_to_end(b) for b in batches] if self.settings.padding_free else batches
            if not self.is_learning:
                return

    def step(self, loss: float) -> None:
        """Clips the gradients, takes the step, moves the learning rate on.

        Args:
            loss: The step's. If it is not finite, the training has failed
                with the weights before the step.
        """
        if not self._is_finite(loss, "training", self.steps_done + 1):
            return
        self.bench.accelerator.clip_grad_norm_(list(self.parameters.values()), self.own.clip)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)

    @property
    def is_due(self) -> bool:
        """Whether it is to be validated now."""
        return self.is_learning and self.steps_done in self.due

    def validated(self, loss: float, accuracy: float | None = None) -> bool:
        """Whether the validation loss after the last step is one; otherwise it has failed."""
        if not self._is_finite(loss, "validation", self.steps_done):
            return False
        self.validations.append(self._validation(self.steps_done, loss, accuracy))
        return True

    def _validation(self, step: int, loss: float, accuracy: float | None = None) -> Validation:
        return Validation(step, self.due[step], loss, self.n_steps, accuracy)

    def _is_finite(self, loss: float, which: str, step: int) -> bool:
        if not math.isfinite(loss):
            self._ended = Failed(
                f"{which} loss was {loss} at step {step} of {self.n_steps} with {self._told()}"
            )
        return self.is_learning

    def finish(self) -> None:
        """Every step is done, and the last validation did not end it."""
        self._ended = Training(
            self.validations[-1].loss,
            self.tokens,
            self.seconds_setup,
            self.seconds,
            self.resumed_at,
            self.validations[-1].accuracy,
            self.seconds_before,
        )

    def prune(self) -> None:
        """Ends it after the validation that was given last."""
        self._ended = Pruned(self.seconds_setup + self.seconds, self.resumed_at)

    def run_out_of_memory(self, pack: int | None = None) -> None:
        """Ends it in the middle of a step, of a pack of so many."""
        # the last validation is beside the last step
        step = min(self.steps_done + 1, self.n_steps)
        within, each = ("", "") if pack is None else (f" in a pack of {pack}", " each")
        message = (
            f"out of memory at step {step}{within} with micro-batch "
            f"{self.settings.micro_batch}{each} and {self._told()}"
        )
        self._ended = OutOfMemory("training", message, peak_memory())

    def _told(self) -> str:
        """The hyperparameters for a message."""
        return ", ".join(f"{name} {value}" for name, value in self.chosen.told().items())

    def state(self) -> State:
        """All that the rest depends on, but the base; every rank must call this.

        Its tensors are the live ones: write them down before the next step.
        """
        scaler = self.bench.accelerator.scaler  # there is one where the base is float16
        return State(
            step=self.steps_done,
            tokens=self.tokens,
            seconds=self.seconds_before + self.seconds,
            losses=tuple(self.losses),
            validations=tuple((v.step, v.loss, v.accuracy) for v in self.validations),
            update={
                "adapter": {name: p.detach() for name, p in self.parameters.items()},
                "optimizer": self._optimizer.state_dict(),
                "scheduler": self._schedule.state_dict(),
                "scaler": {} if scaler is None else scaler.state_dict(),
            },
            generators=gather_object([generators(self.bench.accelerator.device)]),
        )

    def resume(self, state: State) -> None:
        """Goes on, once it has begun, where a `state` of the same training was taken."""
        accelerator = self.bench.accelerator
        saved = state.update["adapter"].values()  # in one order, by names that a pack has not
        with torch.no_grad():
            for parameter, value in zip(self.parameters.values(), saved, strict=True):
                parameter.copy_(value)
        self._optimizer.load_state_dict(state.update["optimizer"])
        for parameter in self.parameters.values():
            _lay_out(self._optimizer.state[parameter], parameter)
        self._schedule.load_state_dict(state.update["scheduler"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state.update["scaler"])
        restore_generators(state.generators[accelerator.process_index])
        self.tokens, self.resumed_at = state.tokens, state.step
        self.seconds_before = state.seconds
        self.losses += state.losses
        self.validations += (self._validation(*each) for each in state.validations)


def _lay_out(state: dict[str, Any], parameter: nn.Parameter) -> None:
    """Puts an optimizer's tensors in memory as their parameter is, which fused steps rely on."""
    tensors = [(name, value) for name, value in state.items() if isinstance(value, Tensor)]
    for name, value in tensors:  # some optimizers count in Python's numbers
        if value.shape == parameter.shape and value.stride() != parameter.stride():
            state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def epochs_of(settings: TrainingSettings, n_samples: int, effective_batch: int) -> float:
    """Passes over the samples: those that `max_steps` takes, where that is set."""
    if settings.max_steps is None:
        return settings.epochs
    return settings.max_steps / count_steps(n_samples, effective_batch, 1.0)


def validation_steps(n_steps: int, validations: int) -> dict[int, int]:
    """When the validation loss is taken: step -> how many `validations`-ths are done then.

    The share and not the step is what trials with different effective batches have in common, so
    it is what a pruner compares. The last step is always among them; a training shorter than
    `validations` steps has fewer.
    """
    return {math.ceil(n_steps * part / validations): part for part in range(1, validations + 1)}


def _learning_rates(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, n_steps: int
) -> LRScheduler:
    """transformers' schedules, in optimizer steps; the warm-up rounded up as its Trainer does.

    Its first step has a learning rate of 0, so that a training of one step would learn nothing:
    the last step is never of the warm-up.
    """
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    warmup = min(math.ceil(settings.warmup * n_steps), n_steps - 1)
    schedule: LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=n_steps
    )
    return schedule
