"""One trial in, one float out: trains, scores; writes the adapter and the trial's attributes."""

from __future__ import annotations

import logging
import math
from pathlib import Path
import threading
import time
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from objectives import lora
from objectives.bench import Bench
from objectives.bench import release
from objectives.bench import save_adapter
from objectives.config import Experiment
from objectives.config import Hyperparameters
from objectives.corpus import count_steps
from objectives.errors import UserError
from objectives.score import Scorer


__all__ = ["LoraObjective", "check_direction"]

_logger = logging.getLogger(__name__)


class LoraObjective:
    """What `study.optimize` calls.

    The value is the validation loss at the end of the training, or the score on `[scoring]
    objective`.

    * Validation losses on the way are reported under their share of the training (1 to `[training]
      validations`), not under the step: the number of steps depends on the effective batch, and
      Optuna's pruners compare trials at equal numbers. With a task as objective nothing is
      reported, since loss and score do not compare.
    * A diverged or out-of-memory trial gets the user attribute `failure` and the value nan, which
      Optuna records as FAIL; the study goes on, whatever its `catch` is, and the next trial starts
      from the same base.

    User attributes: `adapter` (folder), `validation_loss`, `validation_losses` ([step, loss]
    each), `steps`, `tokens`, `seconds_setup`, `seconds_training`, `seconds_scoring`; with a task
    as objective also `score_stderr`. A pruned trial has no adapter, and its `seconds_training`
    hold its set-up.
    """

    def __init__(
        self, experiment: Experiment, bench: Bench, scorer: Scorer | None, folder: Path
    ) -> None:
        """Checks that the study looks the right way.

        Args:
            experiment: Its settings and search space.
            bench: Loaded with the same experiment.
            scorer: With the objective's task in it; unused where the objective is the loss.
            folder: The adapter of trial 7 goes to its `adapters/0007`.
        """
        self._experiment = experiment
        self._bench = bench
        self._scorer = scorer
        self._folder = folder
        self._one_at_a_time = threading.Lock()  # `n_jobs`: the base carries one adapter
        check_direction(experiment, scorer)

    def __call__(self, trial: optuna.Trial) -> float:
        chosen = self._experiment.hyperparameters(
            {name: _suggest(trial, name, d) for name, d in self._experiment.search_space().items()}
        )
        try:
            with self._one_at_a_time:
                return self._value(trial, chosen)
        except lora.TrainingFailed as error:
            failure = str(error)
        except (RuntimeError, MemoryError) as error:
            if not lora.is_out_of_memory(error):
                raise
            batch = self._experiment.scoring.batch
            failure = f"out of memory in scoring with batch {batch}, after the training"
        # outside of the except clause, where nothing holds on to the failed training's tensors any
        # more
        self._bench.accelerator.free_memory()
        trial.set_user_attr("failure", failure)
        _logger.warning("Trial %d failed: %s", trial.number, failure)
        return math.nan

    def _value(self, trial: optuna.Trial, chosen: Hyperparameters) -> float:
        start = time.perf_counter()
        trained = self._train(trial, chosen)
        setup = time.perf_counter() - start - trained.seconds
        try:
            start = time.perf_counter()
            value = self._score(trial, trained)
            scoring = time.perf_counter() - start
            adapter = self._folder / "adapters" / f"{trial.number:04d}"
            save_adapter(trained.model, adapter)
        finally:
            release(self._bench, trained.model)
        attributes = {
            "adapter": str(adapter),
            "tokens": trained.tokens,
            "seconds_setup": setup,
            "seconds_training": trained.seconds,
            "seconds_scoring": scoring,
        }
        for name, attribute in attributes.items():
            trial.set_user_attr(name, attribute)
        return value

    def _train(self, trial: optuna.Trial, chosen: Hyperparameters) -> lora.Trained:
        settings = self._experiment.training
        rows = len(self._bench.corpus.train)
        due = lora.validation_steps(
            count_steps(rows, chosen.effective_batch, settings.epochs), settings.validations
        )
        seen: list[tuple[int, float]] = []

        def report(step: int, loss: float) -> None:
            seen.append((step, loss))
            if self._experiment.scoring.objective == "loss":
                trial.report(loss, due[step])
                if trial.should_prune():
                    raise optuna.TrialPruned(f"pruned at step {step}, validation loss {loss:.4f}")

        start = time.perf_counter()
        try:
            return lora.train(self._bench, settings, chosen, report=report)
        except optuna.TrialPruned:
            trial.set_user_attr("seconds_training", time.perf_counter() - start)
            raise
        finally:
            if seen:
                trial.set_user_attr("steps", seen[-1][0])
                trial.set_user_attr("validation_loss", seen[-1][1])
                trial.set_user_attr("validation_losses", [list(pair) for pair in seen])

    def _score(self, trial: optuna.Trial, trained: lora.Trained) -> float:
        if self._scorer is None or self._experiment.scoring.objective == "loss":
            return trained.validation_loss
        score = self._scorer.score(trained.model, self._experiment.scoring.objective)
        trial.set_user_attr("score_stderr", score.stderr)
        return score.value


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """The `suggest_*` that belongs to a distribution."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name,
            distribution.low,
            distribution.high,
            step=distribution.step,
            log=distribution.log,
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name,
            distribution.low,
            distribution.high,
            step=distribution.step,
            log=distribution.log,
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def check_direction(experiment: Experiment, scorer: Scorer | None) -> None:
    """Before the first trial: the study must not look for the worst."""
    scoring = experiment.scoring
    if scoring.objective == "loss":
        return
    assert scorer is not None, "a task as objective needs a scorer"
    if scorer.direction(scoring.objective) != experiment.direction:
        raise UserError(
            f"`[scoring] metric` = {scoring.metric!r}: the task {scoring.objective!r} wants it "
            f"{scorer.direction(scoring.objective)}d, the study would {experiment.direction} it; "
            "choose a metric of lm-eval's own, or correct `higher_is_better` in the task"
        )
