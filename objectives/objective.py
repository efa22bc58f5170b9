"""One trial in, one float out: suggests, prunes, halves batches, keeps a trial's attributes.

What trains is a `Run` (see objectives/job.py). This side imports no torch and stays alive whatever
the training does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import logging
import math
from pathlib import Path
import shutil
import threading
from typing import Any
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.exceptions import UpdateFinishedTrialError

from objectives.errors import UserError
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Run
from objectives.job import until_it_fits
from objectives.job import Validation
from objectives.record import CHECKPOINTING
from objectives.record import FAILURE
from objectives.record import measured
from objectives.record import versions
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import Direction
from objectives.settings.sections.scoring import IN_TRAINING
from objectives.settings.sections.scoring import LOSS
from objectives.training import checkpoint_files
from objectives.training.checkpoint_files import to_go_on_with


if TYPE_CHECKING:
    from objectives.training.runner import Runner

__all__ = ["Begun", "LoraObjective", "Reports", "suggest"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A trial with its hyperparameters.

    Attributes:
        trial: As Optuna gave it.
        job: Its work.
        reports: To be called with its validation losses.
    """

    trial: optuna.Trial
    job: Job
    reports: Reports


class LoraObjective:
    """What `study.optimize` calls.

    The value is the validation loss at the end of the training, or the score on `[scoring]
    objective`.

    * Validation losses on the way are reported under their share of the training (1 to `[training]
      validations`), not under the step: the number of steps depends on the effective batch, and
      Optuna's pruners compare trials at equal numbers. What is reported is the smallest loss so
      far, or the largest preference accuracy where that is the objective: a validation loss has
      spikes, and a pruner that believes one ends the later best. With a task as objective nothing
      is reported, since loss and score do not compare.
    * A training that runs out of memory starts again from its seed with half the micro-batch, and
      at last with gradient checkpointing (see `until_it_fits`); a scoring, with half its batch. A
      step is defined in samples, so the losses stay what they were, but for dropout masks and
      float rounding. The next trial starts with what fitted.
    * A trial that diverged, or whose score is nan, or that did not fit with batches of 1, or whose
      process died, gets the user attribute `failure` and the value nan, which Optuna records as
      FAIL; the study goes on, whatever its `catch` is, and the next trial starts from the same
      base.

    User attributes: `adapter` (folder), `validation_loss`, `validation_losses` ([step, loss]
    each), `steps`, `tokens`, `tokens_per_second` (of the training, its validations included),
    `seconds_setup`, `seconds_training`, `seconds_scoring`, `micro_batch` (the one used),
    `gradient_checkpointing` (where it was), `devices` (GPUs of the trial, where several),
    `peak_memory` (bytes), `versions` (of the packages that values depend on), `steps_in_all` (of
    a whole training); with preferences `preference_accuracy`; with a task as
    objective also `score_stderr`, and with several their `scores`. A pruned trial has no adapter,
    and its `seconds_training` hold its set-up. Of the last attempt, where there were several;
    losses of the last one that was validated.

    A training that was cut off is continued by the next trial with the same hyperparameters, to
    the bit, from its last checkpoint, with its micro-batch and its gradient checkpointing. That
    trial's `resumed_at` says after which step; the pruner is asked again about the losses before.
    A checkpoint is deleted as soon as its trial has a value or is pruned; see `[study]
    checkpoints`.
    """

    def __init__(
        self, experiment: Experiment, run: Run | None = None, folder: str | Path | None = None
    ) -> None:
        """Loads nothing.

        Args:
            experiment: Its settings and search space.
            run: Trains and scores, with the same experiment; by default this process does, on a
                base that the first trial loads.
            folder: The adapter of trial 7 goes to its `adapters/0007`; by default it has the name
                of the trial's study, in `[study] output`.
        """
        self._experiment, self._given, self._folder = experiment, run, folder
        self._micro_batch = experiment.training.micro_batch
        self._scoring_batch = experiment.scoring.batch
        self._checkpointing = experiment.training.gradient_checkpointing
        self._devices = experiment.study.gpus_per_trial or 1
        self._one_at_a_time = threading.Lock()  # `n_jobs`: the base carries one adapter

    def __call__(self, trial: optuna.Trial) -> float:
        with self._one_at_a_time:  # the next one starts with the batches that fitted
            if self._given is None:
                self._check_direction(trial)
            return self.run(self.begin(trial))

    @property
    def direction(self) -> Direction:
        """For `optuna.create_study`; a task is loaded to say it, and the base with it."""
        known = self._experiment.direction
        return known if known is not None else self._own.direction

    def _check_direction(self, trial: optuna.Trial) -> None:
        """Of a study that somebody else has made; a FixedTrial has none."""
        study = getattr(trial, "study", None)
        if study is not None and study.direction.name.lower() != self.direction:
            raise UserError(
                f"direction = {study.direction.name.lower()!r}: the objective, "
                f"{self._experiment.value_name}, is to {self.direction}; make the study with "
                "optuna.create_study(direction=objective.direction)"
            )

    @property
    def _run(self) -> Run:
        return self._own if self._given is None else self._given

    @cached_property
    def _own(self) -> Runner:
        from objectives.training.shared import shared_runner  # imports torch

        return shared_runner(self._experiment)

    def _folder_of(self, trial: optuna.Trial) -> Path:
        """Two studies have trials of the same numbers; a FixedTrial has no study."""
        if self._folder is not None:
            return Path(self._folder)
        study = getattr(trial, "study", None)
        name = "notebook" if study is None else study.study_name
        return Path(self._experiment.study.output) / name

    def begin(self, trial: optuna.Trial) -> Begun:
        """Suggests the trial's hyperparameters."""
        chosen = self._experiment.hyperparameters(
            {name: suggest(trial, name, d) for name, d in self._experiment.search_space().items()}
        )
        if self._devices > 1:  # now, for a trial that is cut off has taken them as well
            trial.set_user_attr("devices", self._devices)
        folder = self._folder_of(trial)
        adapter = folder / "adapters" / f"{trial.number:04d}"
        keeps = self._experiment.study.kept_checkpoints != "none"
        stem = checkpoint_files.stem(folder, chosen) if keeps else None
        job = Job(
            trial.number,
            chosen,
            str(adapter),
            self._micro_batch,
            self._scoring_batch,
            stem,
            gradient_checkpointing=self._checkpointing,
        )
        reports = Reports(trial, self._experiment.scoring.objective)
        return Begun(trial, job, reports)

    def run(self, begun: Begun) -> float:
        """Trains it, unless its job is trained, and scores it; the value."""
        try:
            job = begun.job if begun.job.trained is not None else to_go_on_with(begun.job)
            job, outcome = self._until_it_fits(job, begun.reports)
        finally:
            begun.reports.keep()
        return self._tell(begun.trial, job, outcome)

    def settle(self, begun: Begun, outcome: Outcome) -> float:
        """The value where somebody else has run it to that end."""
        begun.reports.keep()
        return self._tell(begun.trial, begun.job, outcome)

    def _tell(self, trial: optuna.Trial, job: Job, outcome: Outcome) -> float:
        """Writes the attributes; the value."""
        told = self._unless_nan(outcome)
        _record(trial, job, told)
        keeps_pruned = self._experiment.study.kept_checkpoints == "pruned"
        over = Finished if keeps_pruned else Finished | Pruned
        if job.checkpoint_stem is not None and isinstance(outcome, over):
            checkpoint_files.delete(job.checkpoint_stem)
        return _value(trial, told)

    def _unless_nan(self, outcome: Outcome) -> Outcome:
        """A trial whose value is no number has failed, and counts as such."""
        if not isinstance(outcome, Finished) or not math.isnan(outcome.value):
            return outcome
        return Failed(f"{self._experiment.value_name} was nan after the training")

    def _until_it_fits(self, job: Job, reports: Reports) -> tuple[Job, Outcome]:
        """The last attempt, with batches that fit or cannot be smaller."""
        began = job  # as its checkpoint may have it, from another machine with less memory
        name = f"Trial {job.trial}"
        job, outcome = until_it_fits(name, job, lambda job: self._run(job, reports))
        if isinstance(outcome, Finished | Pruned):
            if job.micro_batch < began.micro_batch:
                self._micro_batch = min(self._micro_batch, job.micro_batch)
            if job.gradient_checkpointing != began.gradient_checkpointing:
                self._checkpointing = job.gradient_checkpointing
            self._scoring_batch = job.scoring_batch
        return job, outcome


def _record(trial: optuna.Trial, job: Job, outcome: Outcome) -> None:
    """Writes the attributes; an adapter without a value goes."""
    _set(trial, {"micro_batch": job.micro_batch, "versions": versions()})
    if job.gradient_checkpointing is True:
        trial.set_user_attr(CHECKPOINTING, True)
    if isinstance(outcome, Finished):
        _set(trial, {"adapter": job.adapter, **measured(outcome)})
        return
    shutil.rmtree(job.adapter, ignore_errors=True)  # of a trial that failed when it was trained
    if isinstance(outcome, Pruned):
        resumed = {"resumed_at": outcome.resumed_at} if outcome.resumed_at else {}
        _set(trial, {"seconds_training": outcome.seconds, **resumed})
        return
    if isinstance(outcome, OutOfMemory):
        trial.set_user_attr("peak_memory", outcome.peak_memory)
    trial.set_user_attr(FAILURE, outcome.message)


def _value(trial: optuna.Trial, outcome: Outcome) -> float:
    if isinstance(outcome, Finished):
        return outcome.value
    if isinstance(outcome, Pruned):
        raise optuna.TrialPruned
    _logger.warning("Trial %d failed: %s", trial.number, outcome.message)
    return math.nan


def _set(trial: optuna.Trial, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


class Reports:
    """The validation losses of a trial, and the pruner's word on them."""

    def __init__(self, trial: optuna.Trial, objective: object) -> None:
        self._trial, self._objective = trial, objective
        self._seen: dict[int, Validation] = {}  # by step
        self._reported: set[int] = set()

    def __call__(self, validation: Validation) -> bool:
        """Whether the training ends here: its trial is pruned, or another worker has failed it.

        Its first attempt is the one that is reported.
        """
        before = {s: each for s, each in self._seen.items() if s < validation.step}
        self._seen = {**before, validation.step: validation}
        if self._objective not in IN_TRAINING or validation.part in self._reported:
            return False
        self._reported.add(validation.part)
        try:
            self._trial.report(self._best(), validation.part)
        except UpdateFinishedTrialError:
            return True
        done = validation.step == validation.n_steps  # nothing is left to be saved by an end
        return not done and self._trial.should_prune()

    def _best(self) -> float:
        """So far."""
        if self._objective == LOSS:
            return min(each.loss for each in self._seen.values())
        return max(each.accuracy for each in self._seen.values() if each.accuracy is not None)

    def keep(self) -> None:
        """Writes what was seen to the trial."""
        if self._seen:
            last = list(self._seen.values())[-1]
            told = {
                "steps": last.step,
                "validation_loss": last.loss,
                "validation_losses": [[step, each.loss] for step, each in self._seen.items()],
                "steps_in_all": last.n_steps,
                "preference_accuracy": last.accuracy,
            }
            _set(self._trial, {name: value for name, value in told.items() if value is not None})


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """The `suggest_*` that belongs to a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    is_float = isinstance(distribution, FloatDistribution)
    suggest: Any = trial.suggest_float if is_float else trial.suggest_int
    low, high, step, log = (getattr(distribution, key) for key in ("low", "high", "step", "log"))
    return suggest(name, low, high, step=step, log=log)
