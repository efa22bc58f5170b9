"""Parameters that `PartialFixedSampler` has fixed: what is known beforehand, NumPy, branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bowl import bamsoo_and_every_sampler
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import LogNormal
from optuna_partition import Normal
from optuna_partition._study.outside.branches import branch_of
from optuna_partition._study.outside.branches import decided_in


pytestmark = pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "alpha": FloatDistribution(1, 64, log=True),
    "n": IntDistribution(1, 8),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "size": CategoricalDistribution([1, 2, 4]),
}


def value(trial: optuna.Trial) -> float:
    lr, alpha = (
        trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        trial.suggest_float("alpha", 1, 64, log=True),
    )
    n, size = trial.suggest_int("n", 1, 8), trial.suggest_categorical("size", [1, 2, 4])
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    return abs(np.log(lr * alpha / 0.01)) + abs(n - 3) + size + (kind == "b")


@bamsoo_and_every_sampler
@pytest.mark.parametrize("given", [True, False])
def test_values_of_numpy_are_fixed_as_python_s(
    make: Callable[..., BaseSampler], given: bool
) -> None:
    def searched(fixed: dict[str, Any]) -> list[dict[str, Any]]:
        sampler = make(search_space=dict(SPACE) if given else None)
        study = optuna.create_study(sampler=PartialFixedSampler(fixed, sampler))
        study.optimize(value, n_trials=6)
        return [trial.params for trial in study.trials]

    numpy = {"size": np.int64(2), "lr": np.float32(0.5**9), "n": np.int64(4), "kind": np.str_("b")}
    assert searched(numpy) == searched({"size": 2, "lr": 0.5**9, "n": 4, "kind": "b"})


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("fixed", [{"lr": 1e-4}, {"n": 4}, {"kind": "c"}, {"size": 4}])
def test_what_is_expected_of_a_fixed_parameter_is_left_out(
    fixed: dict[str, Any], given: bool
) -> None:
    prior = {"lr": LogNormal(1e-3), "n": Normal(6, 1), "kind": "a", "size": {1: 3, 2: 1}}
    features = {"strength": {"lr": 1, "alpha": 1, "n": -1}}
    sampler = BaMSOOSampler(
        search_space=dict(SPACE) if given else None, prior=prior, features=features
    )
    study = optuna.create_study(sampler=PartialFixedSampler(fixed, sampler))
    study.optimize(value, n_trials=8)
    assert all(fixed.items() <= trial.params.items() for trial in study.trials)
    expected = {"lr": 1e-3, "n": 6, "kind": "a", "size": 1}
    start = study.trials[0].params
    found = {**start, "lr": round(start["lr"], 5)}
    assert {**expected, **fixed}.items() <= found.items()


@pytest.mark.parametrize("fixed", [{"lr": 1e-4}, {"lr": 1}, {"n": 4}])
def test_earlier_studies_tell_of_the_other_parameters(fixed: dict[str, Any]) -> None:
    earlier = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    earlier.optimize(value, n_trials=20)
    space = {**SPACE, "lr": FloatDistribution(1e-5, 1)}
    sampler = BaMSOOSampler(search_space=space, previous=[earlier])
    study = optuna.create_study(sampler=PartialFixedSampler(fixed, sampler))
    start = study.ask(space).params
    best = earlier.best_params
    assert {n: start[n] for n in ("kind", "size")} == {n: best[n] for n in ("kind", "size")}
    assert start["alpha"] == pytest.approx(best["alpha"], rel=0.01)


def bent(trial: optuna.Trial) -> float:
    """Two branches, the better one with a valley across what is suggested last."""
    if trial.suggest_categorical("kind", ["flat", "bent"]) == "flat":
        return 1 + trial.suggest_float("slope", 0, 1) + trial.suggest_float("x", 0, 1)
    u, x = trial.suggest_float("u", 0, 1), trial.suggest_float("x", 0, 1)
    return 4 * abs(u - x**2) + abs(x - 0.9)


def test_a_branch_is_searched_for_the_value_that_is_fixed() -> None:
    study = optuna.create_study(sampler=BaMSOOSampler())
    study.optimize(bent, n_trials=30)
    study.sampler = PartialFixedSampler({"x": 0.2}, study.sampler)
    study.optimize(bent, n_trials=20)
    found = [trial.params["u"] for trial in study.trials[30:] if "u" in trial.params]
    assert min(abs(u - 0.2**2) for u in found) < 0.01


def test_what_the_partition_chooses_beside_it_is_decided_before_it_is_suggested() -> None:
    study = optuna.create_study(sampler=BaMSOOSampler())
    study.optimize(bent, n_trials=20)
    study.sampler = PartialFixedSampler({"kind": "bent"}, study.sampler)
    trial = study.ask()
    assert trial.suggest_categorical("kind", ["flat", "bent"]) == "bent"
    begun = study.get_trials(deepcopy=False)[trial.number]
    branch = branch_of(study.trials, "u", FloatDistribution(0, 1))
    decided = decided_in(begun, branch, {"kind": "bent"})
    assert decided == {"kind": "bent", "x": trial.suggest_float("x", 0, 1)}
