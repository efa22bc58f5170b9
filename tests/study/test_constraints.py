"""Constraints: who uses them, where they come from, and that no infeasible trial is the best."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
import logging
import math
from pathlib import Path
import pickle
from typing import Any

from bowl import points
from bowl import SPACE
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition._rules.soo import SOO
from optuna_partition._space.space import Space
from optuna_partition._study.fold.history import History
from optuna_partition.inspection import cells


PLANE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-5, 5),
    "y": FloatDistribution(-5, 5),
}
BY_GABLONSKY = {
    "soo": SOOSampler,
    "direct": DIRECTSampler,
    "published": partial(BaMSOOSampler, as_published=True),
}
"""To these an infeasible point is a failure; the default of BaMSOO learns from its value."""
PARTITIONS = {**BY_GABLONSKY, "bamsoo": BaMSOOSampler}
every_partition = pytest.mark.parametrize("make", PARTITIONS.values(), ids=PARTITIONS)


def squares(trial: optuna.Trial) -> float:
    x, y = (trial.suggest_float(name, -5, 5) for name in "xy")
    return (x - 1) ** 2 + (y + 2) ** 2


def halved(trial: optuna.Trial) -> float:
    """At least 1, at (0, -2)."""
    value = squares(trial)
    trial.set_constraint("left", trial.params["x"])
    return value


def left(trial: FrozenTrial) -> Sequence[float]:
    return (trial.params["x"],)


def run(sampler: BaseSampler, objective: Any = halved, n: int = 18, **options: Any) -> Any:
    study = optuna.create_study(sampler=sampler, **options)
    study.optimize(objective, n_trials=n, catch=ArithmeticError)
    return study


# ---- the search ----


@every_partition
def test_the_best_feasible_point_is_found(make: Callable[..., BaseSampler]) -> None:
    """The search that ignored constraints had 1.05 (SOO, DIRECT) and 2.53 (BaMSOO)."""
    n = 25 if make is BaMSOOSampler else 60
    study = run(make(), n=n)
    assert study.best_value == pytest.approx(1, abs=0.02)
    assert study.best_trial.constraints["left"] <= 0
    values = [t.value for t in study.trials if t.constraints["left"] <= 0]
    assert len([value for value in values if value == study.best_value]) == 1
    assert len({tuple(t.params.values()) for t in study.trials}) == n


@pytest.mark.parametrize(
    ("name", "sign"), [("soo", 1), ("direct", -1), ("published", 1), ("bamsoo", -1)]
)
def test_a_function_says_what_the_objective_may_say(name: str, sign: int) -> None:
    make = PARTITIONS[name]
    direction = "minimize" if sign == 1 else "maximize"
    told = run(make(), lambda trial: sign * halved(trial), n=9, direction=direction)
    sampler = make(constraints_func=left)
    asked = run(sampler, lambda trial: sign * squares(trial), n=9, direction=direction)
    assert points(told) == points(asked)
    assert all(t.constraints == {"0": t.params["x"]} for t in asked.trials)


@every_partition
def test_constraints_that_all_trials_meet_change_no_partition(
    make: Callable[..., BaseSampler],
) -> None:
    """But the model's: it does not know that they do."""
    n = 5 if make is BaMSOOSampler else 18
    free, met = (run(make(constraints_func=f), n=n) for f in (None, lambda _: (-1.0,)))
    assert points(free) == points(met)


@pytest.mark.parametrize("make", BY_GABLONSKY.values(), ids=BY_GABLONSKY)
def test_infeasible_points_are_failures_to_a_partition(make: Callable[..., BaseSampler]) -> None:
    def failing(trial: optuna.Trial) -> float:
        value = squares(trial)
        return math.nan if trial.params["x"] > 0 else value

    assert points(run(make())) == points(run(make(), failing))


def test_a_new_process_continues_the_sequence(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    options = {"storage": storage, "study_name": "same", "load_if_exists": True}
    whole = run(BaMSOOSampler(search_space=PLANE), n=9)
    for _ in range(3):
        study = run(BaMSOOSampler(search_space=PLANE), n=3, **options)
    assert points(study) == points(whole)


# ---- what trials say ----


def ended(number: int, x: float, value: float | None, **constraints: float) -> FrozenTrial:
    state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
    trial = optuna.create_trial(
        state=state,
        value=value,
        params={"x": x, "y": x / 2},
        distributions=PLANE,
        constraints=constraints or None,
    )
    trial.number = number
    return trial


TRIALS = [
    ended(0, 1.0, 3.0, a=-1.0),
    ended(1, 2.0, 1.0, a=0.5),
    ended(2, 3.0, 2.0),
    ended(3, 4.0, None, b=2.0),
    ended(4, -1.0, -5.0, a=-1.0, b=math.inf),
    ended(5, -2.0, 4.0, a=0.0),
]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0], [4, 1, 1, 0, 5, 3, 2]])
def test_no_infeasible_value_counts_whatever_comes_first(order: list[int]) -> None:
    history = History(Space(PLANE), SOO(), sign=1.0)
    for number in order:
        history.fold(TRIALS[number])
    tree = history.tree
    assert tree.incumbent == 2.0
    assert [value for _, value in tree.known()] == [3.0, 2.0, 4.0]
    said = [*tree.said().values()]
    assert [o.value for o in said] == [3.0, 1.0, 2.0, None, -5.0, 4.0]
    assert said[4].constraints == (("a", -1.0), ("b", math.inf))


def test_a_cell_has_the_best_feasible_value_inside() -> None:
    study = run(SOOSampler(), n=20)
    by_number = {t.number: t for t in study.trials}
    for cell in cells(study):
        inside = [by_number[n] for n in cell.trials]
        feasible = [t.value for t in inside if t.constraints["left"] <= 0]
        assert cell.value == min(feasible, default=None)


@pytest.mark.parametrize("make", [SOOSampler, BaMSOOSampler])
def test_constraints_may_be_missing_and_trials_pruned(make: Callable[..., BaseSampler]) -> None:
    """A training need not be made to know that it breaks a bound."""

    def objective(trial: optuna.Trial) -> float:
        value = squares(trial)
        if trial.params["x"] > 0:
            trial.set_constraint("left", trial.params["x"])
            if trial.params["y"] > 0:
                raise optuna.TrialPruned
            if trial.params["y"] > -1:
                raise ZeroDivisionError
        return value

    study = run(make(), objective)
    best = min(t.value for t in study.trials if t.value is not None and not t.constraints)
    assert study.best_value == best < 2


# ---- mistakes ----


@pytest.mark.parametrize(
    "found",
    [None, 1.0, "1", ("1",), (math.nan,), ((1.0,),), (1j,), {0: 1.0}],
)
def test_bad_constraints_are_told_and_the_value_is_kept(found: Any) -> None:
    study = optuna.create_study(sampler=SOOSampler(constraints_func=lambda _: found))
    with pytest.raises(ValueError, match="must return a sequence of numbers.*for trial 0"):
        study.optimize(squares, n_trials=1)
    assert study.trials[0].state is TrialState.COMPLETE and not study.trials[0].constraints


def test_its_own_errors_are_the_user_s_to_see() -> None:
    def broken(trial: FrozenTrial) -> Sequence[float]:
        raise KeyError("memory")

    study = optuna.create_study(sampler=SOOSampler(constraints_func=broken))
    with pytest.raises(KeyError, match="memory"):
        study.optimize(squares, n_trials=1)
    assert study.trials[0].state is TrialState.COMPLETE


def test_it_is_called_for_trials_with_a_value_alone() -> None:
    called = []

    def function(trial: FrozenTrial) -> Sequence[float]:
        called.append(trial.number)
        return ()

    def objective(trial: optuna.Trial) -> float:
        value = squares(trial)
        if trial.number == 1:
            raise optuna.TrialPruned
        return math.nan if trial.number == 2 else value

    run(SOOSampler(constraints_func=function), objective, n=4)
    assert called == [0, 1, 3]


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`constraints_func` must be a function, but got \(3\)"):
        SOOSampler(constraints_func=3)  # type: ignore[arg-type]


# ---- who does not use them ----


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said of constraints."""
    optuna.logging.enable_propagation()
    caplog.set_level(logging.WARNING)

    def texts() -> list[str]:
        return [text for text in caplog.messages if "constraints" in text]

    return texts


def constrained(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 2)
    if trial.number >= 2:
        trial.set_constraint("small", x - 1)
        trial.set_constraint("large", -x)
    return x


def test_nomad_tells_once_for_a_study(heard: Callable[[], list[str]]) -> None:
    sampler = NOMADSampler(search_space={"x": SPACE["x"]})
    first, second = (optuna.create_study(sampler=sampler) for _ in range(2))
    first.optimize(constrained, n_trials=2)
    assert heard() == []
    first.optimize(constrained, n_trials=3)
    (text,) = heard()
    assert "`NOMADSampler` does not use constraints" in text
    assert "trial 2 has `small`, `large`" in text and "`BaMSOOSampler`" in text
    second.optimize(constrained, n_trials=5)
    assert len(heard()) == 2


def test_a_pickled_nomad_tells_anew_and_goes_on(heard: Callable[[], list[str]]) -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space={"x": SPACE["x"]}))
    study.optimize(constrained, n_trials=3)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(constrained, n_trials=3)
    assert len(heard()) == 2


@every_partition
def test_the_partition_samplers_have_nothing_to_tell(
    make: Callable[..., BaseSampler], heard: Callable[[], list[str]]
) -> None:
    run(make(), n=4)
    assert heard() == []
