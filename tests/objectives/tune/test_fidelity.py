"""Pruners by name, with samplers of others and ours, on the smallest validation loss so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
from pathlib import Path

from commands import experiment
from commands import load
from commands import run
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Report
from objectives.job import Training
from objectives.job import Validation
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


__all__ = ["experiment"]  # a fixture

Losses = list[list[float]]
STEADY, SPIKE = [3.0, 2.5, 2.2, 2.1], [2.0, 1.8, 9.0, 1.7]


def replayed(losses: Losses) -> Callable[[Job, Report], Outcome]:
    """Trainings whose validation losses are known: trial n has the n-th list."""

    def train(job: Job, report: Report) -> Outcome:
        for part, loss in enumerate(losses[job.trial], start=1):
            if report(Validation(10 * part, part, loss, 40)):
                return Pruned(1.0)
        training = Training(loss, 100, 0.1, 1.0)
        return Finished(loss, training, 0.0, None, 2**20)

    return train


def trials(experiment: Experiment, folder: Path, pruner: str, losses: Losses) -> list[FrozenTrial]:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler, pruner=PRUNERS[pruner](4))
    study.optimize(LoraObjective(experiment, replayed(losses), folder), n_trials=len(losses))
    return study.trials


def test_the_losses_of_a_trial_are_those_of_its_last_attempt(
    tiny_experiment: Experiment, tmp_path: Path
) -> None:
    """Which came less far than the first, that ran out of memory."""
    attempts = iter([(OutOfMemory("training", "full", 0), STEADY), (Failed("nan"), SPIKE[:2])])

    def train(job: Job, report: Report) -> Outcome:
        outcome, losses = next(attempts)
        for part, loss in enumerate(losses, start=1):
            report(Validation(10 * part, part, loss, 40))
        return outcome

    study = optuna.create_study()
    study.optimize(LoraObjective(tiny_experiment, train, tmp_path), n_trials=1)
    told = study.trials[0].user_attrs
    assert (told["failure"], told["steps"]) == ("nan", 20)
    assert told["validation_losses"] == [[10, SPIKE[0]], [20, SPIKE[1]]]


def test_a_pruner_sees_the_smallest_loss_so_far(
    tiny_experiment: Experiment, tmp_path: Path
) -> None:
    (trial,) = trials(tiny_experiment, tmp_path, "none", [SPIKE])
    assert trial.intermediate_values == {1: 2.0, 2: 1.8, 3: 1.8, 4: 1.7}
    assert trial.user_attrs["validation_losses"] == [[10, 2.0], [20, 1.8], [30, 9.0], [40, 1.7]]
    assert trial.value == trial.user_attrs["validation_loss"] == 1.7


@pytest.mark.parametrize("pruner", ["median", "hyperband", "asha"])
def test_a_spike_does_not_end_the_best_trial(
    tiny_experiment: Experiment, tmp_path: Path, pruner: str
) -> None:
    """And a loss that stays high does end a trial, of the same length in every bracket."""
    bad = [[9.0] * 4] * 5
    found = trials(tiny_experiment, tmp_path, pruner, [*[STEADY] * 20, SPIKE, *bad])
    assert found[20].state is TrialState.COMPLETE
    ended = [t.state for t in found[21:]]
    assert TrialState.PRUNED in ended


def test_successive_halving_needs_no_finished_trial(
    tiny_experiment: Experiment, tmp_path: Path
) -> None:
    """Two of three stay behind at the first rung, and nobody has reached the end yet."""
    found = trials(tiny_experiment, tmp_path, "asha", [STEADY, [9.0] * 4, [8.0] * 4])
    assert [t.state.name for t in found] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [len(t.intermediate_values) for t in found] == [4, 1, 1]


def quadratic(job: Job, report: Report) -> Outcome:
    """A training that comes closer and closer to what its learning rate and rank can reach."""
    chosen = job.chosen
    reached = (math.log10(chosen.learning_rate) + 3) ** 2 + (chosen.rank / 32 - 1) ** 2
    return replayed([[reached + 1 / part for part in range(1, 5)]])(replace(job, trial=0), report)


@pytest.mark.parametrize("sampler", ["tpe", "soo", "direct", "bamsoo"])
def test_hyperband_goes_with_every_sampler(
    tiny_experiment: Experiment, tmp_path: Path, sampler: str
) -> None:
    """Optuna shows a sampler one bracket at a time; ours give no point twice all the same.

    Nothing is kept of a pruned training, so that BaMSOO takes none up, either.
    """
    space = tiny_experiment.search_space()
    chosen = SAMPLERS[sampler](space, tiny_experiment.study)
    study = optuna.create_study(sampler=chosen, pruner=PRUNERS["hyperband"](4))
    study.optimize(LoraObjective(tiny_experiment, quadratic, tmp_path), n_trials=40)
    states = [t.state for t in study.trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert len({tuple(t.params.values()) for t in study.trials}) == 40
    assert study.best_value < 0.25 + 0.5, "0.25 is the least there is"


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "hyperband"), ("soo", "asha")])
def test_it_works_from_the_command(experiment: Path, sampler: str, pruner: str) -> None:
    """TPE with Hyperband is the scheme of BOHB (Falkner et al., ICML 2018)."""
    experiment.write_text(experiment.read_text().replace("epochs = 2", "epochs = 1"))
    options = ["--sampler", sampler, "--pruner", pruner, "--trials", "8", "--search-only"]
    ended = run(experiment, *options)
    assert ended.returncode == 0, ended.stderr
    states = [t.state for t in load(experiment).trials]
    assert len(states) == 8 and set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
