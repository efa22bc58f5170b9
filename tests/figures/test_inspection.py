"""What a study's partition looks like from outside."""

from __future__ import annotations

from collections.abc import Callable

import optuna
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition.inspection import cells


SPACE = {"y": FloatDistribution(0, 1), "n": IntDistribution(1, 40, log=True)}


def objective(trial: optuna.Trial) -> float:
    return -abs(trial.suggest_int("n", 1, 40, log=True) - 9) - trial.suggest_float("y", 0, 1)


def test_cells_cover_the_space_and_name_their_trials() -> None:
    sampler = SOOSampler(search_space=dict(SPACE))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=40)
    found = cells(study)
    area = sum((c.high["y"] - c.low["y"]) * (c.high["n"] - c.low["n"]) for c in found)
    assert area == pytest.approx(1)
    assert sorted(n for c in found for n in c.trials) == list(range(40))
    best = max(found, key=lambda c: c.value if c.value is not None else -1e9)
    assert best.value == study.best_value and study.best_trial.number in best.trials


@pytest.mark.parametrize("as_published", [True, False])
def test_of_what_has_branches_bamsoo_shows_what_all_trials_share(as_published: bool) -> None:
    def branching(trial: optuna.Trial) -> float:
        n = trial.suggest_int("n", 1, 4)
        return abs(trial.suggest_float("x", 0, n) - 2)

    sampler = BaMSOOSampler(as_published=as_published, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(branching, n_trials=9)
    found = cells(study)
    assert [set(cell.low) for cell in found] == [{"n"}] * len(found)
    assert sum(cell.high["n"] - cell.low["n"] for cell in found) == pytest.approx(1)


@pytest.mark.parametrize("make", [SOOSampler, DIRECTSampler])
def test_a_branch_whose_trials_all_fail_is_shown_as_it_is_searched(
    make: Callable[[], BaseSampler],
) -> None:
    def branching(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b", "c"])
        if kind == "b":
            trial.suggest_float("y", 0, 1)
            raise ValueError
        return 0.3 if kind == "c" else trial.suggest_float("x", 0, 1)

    study = optuna.create_study(sampler=make())
    while len(study.trials) < 20 or study.trials[-1].params["kind"] != "b":
        study.optimize(branching, n_trials=1, catch=ValueError)
    (share,) = {(cell.low["kind"], cell.high["kind"]) for cell in cells(study)}
    assert share == pytest.approx((1 / 3, 2 / 3))


def test_a_study_of_another_sampler_has_no_cells() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    assert cells(study) == []
