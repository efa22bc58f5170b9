"""What is searched where nobody says: ranges that change, trials that tell of nothing."""

from __future__ import annotations

from collections.abc import Callable

from bowl import bamsoo_and_every_sampler
from bowl import points
import optuna
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import create_trial
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition._study.attributes import KEY


def square(trial: optuna.Trial, high: float) -> float:
    return sum((trial.suggest_float(name, -high, high) - 1.3) ** 2 for name in "xy")


def n_asked(trials: list[optuna.trial.FrozenTrial]) -> int:
    return sum(KEY in trial.system_attrs for trial in trials)


@bamsoo_and_every_sampler
@pytest.mark.parametrize("tried", [[10.0], [10.0] * 4, [10.0, 10.0, 7.0]])
def test_ranges_that_were_wrong_at_first_are_searched_anew(
    make: Callable[..., BaseSampler], tried: list[float]
) -> None:
    study = optuna.create_study(sampler=make())
    for high in tried:
        study.optimize(lambda trial, high=high: square(trial, high), n_trials=1)
    study.sampler = sampler = make()
    study.optimize(lambda trial: square(trial, 3.0), n_trials=10)
    space = sampler.infer_relative_search_space(study, study.trials[-1])
    assert space == {name: FloatDistribution(-3, 3) for name in "xy"}
    assert n_asked(study.trials[-8:]) == 8


@bamsoo_and_every_sampler
def test_one_of_them_is_once_it_has_lasted_since_it_might_follow_from_others(
    make: Callable[..., BaseSampler],
) -> None:
    def objective(trial: optuna.Trial, high: float) -> float:
        return (trial.suggest_float("x", -high, high) - 1.3) ** 2 + trial.suggest_int("n", 1, 9)

    study = optuna.create_study(sampler=make())
    study.optimize(lambda trial: objective(trial, 10), n_trials=3)
    found = []
    for _ in range(6):
        study.optimize(lambda trial: objective(trial, 3), n_trials=1)
        found.append(study.sampler.infer_relative_search_space(study, study.trials[-1]))
    assert [list(space) for space in found] == [["n"]] * 4 + [["n", "x"]] * 2
    assert found[-1] == {"n": IntDistribution(1, 9), "x": FloatDistribution(-3, 3)}


@bamsoo_and_every_sampler
def test_trials_without_parameters_take_none_out(make: Callable[..., BaseSampler]) -> None:
    """A baseline that was added has none, and neither has what is pruned at once."""

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 4:
            raise optuna.TrialPruned
        return square(trial, 3.0)

    study = optuna.create_study(sampler=make())
    study.add_trial(create_trial(value=1.0))
    study.optimize(objective, n_trials=10)
    assert points(study)[1] == {"x": 0.0, "y": 0.0}, "the first with parameters is the centre"
    assert n_asked(study.trials[2:]) == 8, "all but the one that suggests nothing"


def test_a_study_whose_trials_share_nothing_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = optuna.create_study(sampler=BaMSOOSampler())
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: trial.suggest_float("old", 0, 1), n_trials=2)
    study.optimize(lambda trial: trial.suggest_float("new", 0, 1), n_trials=5)
    optuna.logging.disable_propagation()
    told = {id(record): record.getMessage() for record in caplog.records}
    (message,) = (text for text in told.values() if "nothing to search" in text)
    assert "in trial 3," in message
    assert "give `search_space`" in message
