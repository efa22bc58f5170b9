"""What Optuna keeps of a value: integers as floats, of equal choices the first; single values."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import math
from pathlib import Path
from typing import Any

from bowl import every_sampler
from bowl import points
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import GridSampler
from optuna.trial import create_trial
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition._space.space import Space


NAN = float("nan")
ours = pytest.mark.parametrize("is_given", [True, False], ids=["given", "inferred"])
equal_choices = pytest.mark.filterwarnings("ignore:Of equal choices Optuna keeps the first")


def searched(
    make: Callable[..., BaseSampler],
    space: dict[str, BaseDistribution],
    is_given: bool,
    n_trials: int,
    storage: str | None = None,
) -> tuple[optuna.Study, list[dict[str, Any]]]:
    """The study, and what the objective has seen."""
    sampler = make(search_space=dict(space)) if is_given else make()
    study = optuna.create_study(sampler=sampler, storage=storage)
    seen: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        seen.append({name: trial._suggest(name, d) for name, d in space.items()})
        return float(sum(hash(str(x)) % 7 for x in seen[-1].values()))

    study.optimize(objective, n_trials=n_trials)
    return study, seen


# ---- integers are kept as floats ----


def _linear(power: int, sign: int, first: int, count: int, step: int) -> IntDistribution:
    """Around a power of two, where the distance of floats doubles."""
    floats = 2 ** max(0, power - 52)
    low = sign * (2**power + first * floats)
    return IntDistribution(low, low + count * floats * step, step=step)


def _log(power: int, first: int, count: int) -> IntDistribution:
    low = 2**power + first
    return IntDistribution(low, low + count * 2 ** max(0, power - 52), log=True)


powers = st.integers(51, 62)
huge = st.one_of(
    st.builds(
        _linear,
        powers,
        st.sampled_from([1, -1]),
        st.integers(-30, 30).map(lambda k: 8 * k),
        st.integers(2, 30),
        st.sampled_from([1, 2, 8]),
    ),
    st.builds(_log, powers, st.integers(-30, 30), st.integers(2, 30)),
)


def kept(distribution: IntDistribution) -> list[int]:
    """The integers that are floats, by trying each; on a linear axis those in equal steps."""
    values = range(distribution.low, distribution.high + 1, distribution.step)
    if distribution.log:
        return list(filter(is_float, values))
    steps = ([value for value in values if value % 2**k == 0] for k in range(64))
    return next(found for found in steps if all(map(is_float, found)))


def is_float(value: int) -> bool:
    return int(float(value)) == value


@every_sampler
@ours
@settings(max_examples=50)
@example(distribution=IntDistribution(0, 33 * 2**60, step=2**60))
@example(distribution=IntDistribution(2**53, 2**53 + 33))
@example(distribution=IntDistribution(2**53 - 9, 2**53 + 20, log=True))
@given(distribution=huge)
def test_every_integer_that_optuna_can_keep_is_evaluated_once(
    make: Callable[..., BaseSampler], is_given: bool, distribution: IntDistribution
) -> None:
    expected = kept(distribution)
    study, _ = searched(make, {"x": distribution}, is_given, len(expected) + 5)
    assert sorted(params["x"] for params in points(study)) == expected


@given(distribution=huge)
def test_an_integer_that_optuna_keeps_is_found_where_it_was_asked_for(
    distribution: IntDistribution,
) -> None:
    space = Space({"x": distribution})
    (axis,) = space.axes
    first, last = axis.whole()
    for place in [first, axis.centre((first, last)), last]:
        value = space.params((place,))["x"]
        internal = distribution.to_internal_repr(value)
        assert distribution._contains(internal) and int(internal) == value
        assert space.point({"x": distribution.to_external_repr(internal)}) == (place,)


TOO_COARSE = [
    IntDistribution(1, 1 + 33 * 3**38, step=3**38),
    IntDistribution(1, 1 + 33 * 2**60, step=2**60),
    IntDistribution(2**62 + 1, 2**62 + 9),
]


@every_sampler
@pytest.mark.parametrize("distribution", TOO_COARSE, ids=["step", "low", "range"])
def test_integers_that_optuna_cannot_keep_are_refused(
    make: Callable[..., BaseSampler], distribution: IntDistribution
) -> None:
    refusal = r"exact as floats.*\(x=IntDistribution"
    with pytest.raises(ValueError, match=refusal):
        make(search_space={"x": distribution})
    with pytest.raises(ValueError, match=refusal):
        searched(make, {"x": distribution}, False, 2)


# ---- of equal choices the first is kept ----


choices = st.lists(
    st.sampled_from([0, False, 0.0, 1, True, 1.0, "0", "a", NAN, float("nan"), None]),
    min_size=1,
    max_size=6,
)


def texts(found: list[dict[str, Any]]) -> list[str]:
    return sorted(map(str, found))  # nan is not equal to nan


@equal_choices
@every_sampler
@ours
@settings(max_examples=50)
@example(values=[1, True])
@example(values=[0, False, "0"])
@example(values=[NAN, float("nan"), "a"])
@given(values=choices)
def test_of_equal_choices_the_first_is_evaluated_once(
    make: Callable[..., BaseSampler], is_given: bool, values: list[Any]
) -> None:
    """What the study keeps is what was evaluated; GridSampler evaluates the others as well."""
    grid = optuna.create_study(sampler=GridSampler({"c": values}))
    grid.optimize(lambda trial: len(str(trial.suggest_categorical("c", values))))
    space: dict[str, BaseDistribution] = {"c": CategoricalDistribution(values)}
    study, seen = searched(make, space, is_given, 20)
    assert texts(points(study)) == texts(seen)
    assert texts(points(study)) == sorted(set(texts(points(grid))))


@equal_choices
@every_sampler
def test_equal_choices_are_one_in_a_database_too(
    make: Callable[..., BaseSampler], tmp_path: Path
) -> None:
    space: dict[str, BaseDistribution] = {
        "c": CategoricalDistribution([NAN, True, 1, float("nan"), "a"]),
        "n": IntDistribution(0, 2),
    }
    study, seen = searched(make, space, True, 20, f"sqlite:///{tmp_path}/study.db")
    assert len(study.trials) == len(set(texts(seen))) == 9
    assert texts(points(study)) == texts(seen)


@equal_choices
@pytest.mark.parametrize("make", [LatinHypercubeSampler, NOMADSampler, BaMSOOSampler])
def test_the_other_samplers_evaluate_what_the_study_keeps(make: Callable[..., Any]) -> None:
    options = {"n_trials": 8} if make is LatinHypercubeSampler else {}
    space: dict[str, BaseDistribution] = {
        "c": CategoricalDistribution([0, 1, True, False]),
        "x": FloatDistribution(0, 1),
    }
    study = optuna.create_study(sampler=make(search_space=space, **options))
    seen = []

    def objective(trial: optuna.Trial) -> float:
        seen.append({name: trial._suggest(name, d) for name, d in space.items()})
        return float(seen[-1]["x"])

    study.optimize(objective, n_trials=8)
    assert texts(points(study)) == texts(seen)
    assert len({str(params) for params in points(study)}) == 8


@equal_choices
def test_a_study_goes_on_that_took_equal_choices_for_different_ones() -> None:
    """Its cells are of an axis with a place for each."""
    kept_as = distribution_to_json(CategoricalDistribution([0, False, "0"]))
    log = {
        "rule": "soo",
        "space": hashlib.sha256(f"c {kept_as}".encode()).hexdigest()[:16],
        "cell": {"c": "2.2"},
        "opened": ["0.2"],
        "cursor": [1, 1, 0, 1.0],
    }
    study = optuna.create_study(
        sampler=SOOSampler(search_space={"c": CategoricalDistribution([0, False, "0"])})
    )
    study.add_trial(
        create_trial(
            params={"c": "0"},
            distributions={"c": CategoricalDistribution([0, False, "0"])},
            value=1.0,
            system_attrs={"partition": log},
        )
    )
    study.optimize(lambda trial: len(str(trial.suggest_categorical("c", [0, False, "0"]))))
    assert points(study) == [{"c": "0"}, {"c": 0}]


@every_sampler
def test_equal_choices_are_told_of(make: Callable[..., BaseSampler]) -> None:
    told = r"keeps the first, so that \[True\] of \(c=Categorical.*\) will not be tried"
    space: dict[str, BaseDistribution] = {"c": CategoricalDistribution([1, True, 2])}
    with pytest.warns(UserWarning, match=told):
        make(search_space=space)
    with pytest.warns(UserWarning, match=told):
        searched(make, space, False, 3)


# ---- single values ----


SINGLE: dict[str, BaseDistribution] = {
    "x": IntDistribution(3, 3),
    "c": CategoricalDistribution(["only"]),
}


def grid_sampler(search_space: dict[str, BaseDistribution]) -> BaseSampler:
    return GridSampler({"x": [3], "c": ["only"]})


@every_sampler
@ours
def test_a_space_of_single_values_is_evaluated_once(
    make: Callable[..., BaseSampler], is_given: bool
) -> None:
    study, _ = searched(make, SINGLE, is_given, 25)
    peer, _ = searched(grid_sampler, SINGLE, True, 25)
    assert points(study) == points(peer) == [{"x": 3, "c": "only"}]


@ours
def test_one_point_in_flight_is_all_there_is(is_given: bool) -> None:
    sampler = SOOSampler(search_space=dict(SINGLE)) if is_given else SOOSampler()
    study = optuna.create_study(sampler=sampler)
    assert not sampler.is_exhausted(study)
    trial = study.ask(dict(SINGLE))
    assert sampler.is_exhausted(study)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert not sampler.is_exhausted(study)
    study.tell(study.ask(dict(SINGLE)), 1.0)
    assert sampler.is_exhausted(study)


@every_sampler
def test_a_sampler_that_has_served_another_study_ends_too(
    make: Callable[..., BaseSampler],
) -> None:
    sampler = make()
    first = optuna.create_study(sampler=sampler)
    first.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=3)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_int("x", 3, 3), n_trials=25)
    assert len(study.trials) == 1


@every_sampler
def test_single_values_beside_others_end_nothing(make: Callable[..., BaseSampler]) -> None:
    wide = {**SINGLE, "y": IntDistribution(0, 4)}
    inside, _ = searched(make, wide, True, 25)
    outside = optuna.create_study(sampler=make(search_space=SINGLE))
    outside.optimize(lambda trial: trial.suggest_int("x", 3, 3) + trial.suggest_int("y", 0, 4), 9)
    assert (len(inside.trials), len(outside.trials)) == (5, 9)


@every_sampler
def test_a_first_trial_that_breaks_off_ends_nothing(make: Callable[..., BaseSampler]) -> None:
    """It may not have come to its other parameters."""
    study = optuna.create_study(sampler=make())

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("x", 3, 3)
        if trial.number == 0:
            return math.nan
        return trial.suggest_int("y", 0, 4)

    study.optimize(objective, n_trials=25)
    assert sorted(trial.params.get("y", -1) for trial in study.trials) == [-1, 0, 1, 2, 3, 4]


@every_sampler
@ours
def test_an_objective_that_suggests_nothing_is_called_as_often_as_wanted(
    make: Callable[..., BaseSampler], is_given: bool
) -> None:
    study, _ = searched(make, {}, is_given, 7)
    assert len(study.trials) == 7
