"""BaMSOO is BaMSOO: a textbook loop point by point; and what the default rule promises."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any
from typing import cast

from beliefs import broken
from beliefs import nearest
from beliefs import Nearests
from beliefs import silent
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
import pytest
from strategies import finite_distributions
from strategies import spaces
from textbook import bamsoo as textbook_bamsoo
from textbook import soo as textbook_soo

from optuna_partition import BaMSOOSampler
from optuna_partition import inspection
from optuna_partition._core import cells
from optuna_partition._core.axes import Grid
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._rules.bamsoo import _Isolating
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.bamsoo import STARTS
from optuna_partition._rules.bamsoo_2014 import BaMSOO2014
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import Fit
from optuna_partition._rules.believing import Cursor
from optuna_partition._rules.evidence import evidence_of
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.soo import Cursor as Sweep
from optuna_partition._study.ask import PartitionSampler


Function = Callable[[tuple[float, ...]], float]


def sampler(rule: Rule[Any], space: dict[str, BaseDistribution]) -> PartitionSampler:
    return PartitionSampler(rule, search_space=space)


def rounded(f: Function) -> Function:
    """The textbook's floats must not break an exact tie."""
    return lambda x: round(f(x), 9)


@rounded
def sphere(x: tuple[float, ...]) -> float:
    return sum((v - 0.37 - 0.1 * i / len(x)) ** 2 for i, v in enumerate(x))


@rounded
def rastrigin(x: tuple[float, ...]) -> float:
    return sum((6 * v - 2.2) ** 2 - math.cos(2 * math.pi * (6 * v - 2.2)) for v in x)


@rounded
def staircase(x: tuple[float, ...]) -> float:
    return float(sum(abs(int(5 * v) - 3) for v in x))


def asked(rule: Rule[Any], f: Function, dimensions: int, n: int, sign: int = 1) -> list[Any]:
    space = {f"x{i}": FloatDistribution(0, 1) for i in range(dimensions)}
    direction = "minimize" if sign == 1 else "maximize"
    study = optuna.create_study(sampler=sampler(rule, dict(space)), direction=direction)
    study.optimize(
        lambda trial: sign * f(tuple(trial.suggest_float(name, 0, 1) for name in space)), n
    )
    return [tuple(trial.params[name] for name in space) for trial in study.trials]


functions = pytest.mark.parametrize("f", [sphere, rastrigin, staircase])


@functions
@pytest.mark.parametrize("dimensions", [1, 2, 4])
@pytest.mark.parametrize("sign", [1, -1])
def test_published_bamsoo_is_the_textbook_s(f: Function, dimensions: int, sign: int) -> None:
    """With the same belief: which cells are spared, with what bounds, and all that follows."""
    n, eta, doubt = (30 if dimensions == 1 else 120), 0.05, 0.1

    def believe(
        known: list[tuple[tuple[float, ...], float]], x: tuple[float, ...]
    ) -> tuple[float, float]:
        points, values = np.array([p for p, _ in known]), np.array([v for _, v in known])
        mean, distance = nearest(points, values, np.array([x]))
        return float(mean[0]), doubt * float(distance[0])

    points = textbook_bamsoo(f, dimensions, believe, eta)
    expected = [point for point, _ in zip(points, range(n), strict=False)]
    plain = [point for point, _ in zip(textbook_soo(f, dimensions), range(n), strict=False)]
    assert asked(BaMSOO2014(Nearests(doubt), eta), f, dimensions, n, sign) == [
        pytest.approx(point, abs=1e-9) for point in expected
    ]
    assert (expected != plain) or f is not sphere, "nothing was spared"


@functions
@pytest.mark.parametrize("belief", [Nearests(doubt=1e9), broken, silent])
def test_published_bamsoo_with_a_belief_that_spares_nothing_is_soo(
    f: Function, belief: Beliefs
) -> None:
    expected = [point for point, _ in zip(textbook_soo(f, 3), range(150), strict=False)]
    points = asked(BaMSOO2014(belief, 0.05), f, 3, 150)
    assert points == [pytest.approx(point, abs=1e-9) for point in expected]


@pytest.mark.parametrize("belief", [broken, silent])
def test_without_a_model_the_default_searches_as_soo_from_its_start_on(belief: Beliefs) -> None:
    points = asked(BaMSOO(belief), sphere, 3, 150)
    start, rest = points[:STARTS], points[STARTS:]
    assert start[0] == pytest.approx((0.5, 0.5, 0.5))
    for along in zip(*start[1:], strict=True):  # a Latin hypercube
        assert sorted(int((STARTS - 1) * x) for x in along) == list(range(STARTS - 1))
    star = {tuple(1 / 6 if j == i else 0.5 for j in range(3)) for i in range(3)}
    found = {tuple(round(v, 6) for v in p) for p in rest}
    assert {tuple(round(v, 6) for v in p) for p in star} <= found
    assert len(set(points)) == 150
    assert min(map(sphere, points)) < 1e-4


def test_the_seed_varies_the_start_and_nothing_else_does() -> None:
    first, again, other = (
        asked(BaMSOO(Nearests(), seed=seed), sphere, 3, 30) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[0] == other[0] and not set(first[1:]) & set(other[1:STARTS])


def test_a_bound_once_given_stays_whoever_asks_next() -> None:
    """Bounds are read from the trials: a new process with a quite different belief keeps them."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}

    def objective(trial: optuna.Trial) -> float:
        return sphere((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))

    study = optuna.create_study(sampler=sampler(BaMSOO2014(Nearests(0.1), 0.05), dict(space)))
    study.optimize(objective, 60)
    bounds = [b for t in study.trials for b in t.system_attrs["partition"].get("bounds", [])]
    assert len(bounds) > 20
    assert len({cell for cell, _ in bounds}) == len(bounds)
    study.sampler = sampler(BaMSOO2014(Nearests(0.01), 0.05), dict(space))
    study.optimize(objective, 10)
    later = [b for t in study.trials[60:] for b in t.system_attrs["partition"].get("bounds", [])]
    assert not {cell for cell, _ in bounds} & {cell for cell, _ in later}


RULES = {"published": BaMSOO2014(Nearests(0.1), 0.05), "default": BaMSOO(Nearests())}
by_rule = pytest.mark.parametrize("name", RULES)


@by_rule
@settings(max_examples=40)
@given(space=spaces(finite_distributions, most=3))
def test_a_finite_space_is_evaluated_whole_and_once(
    name: str, space: dict[str, BaseDistribution]
) -> None:
    searched = {k: d for k, d in space.items() if not d.single()}
    size = math.prod(len(points(d)) for d in searched.values())
    if not searched or size > 60:
        return
    study = optuna.create_study(sampler=sampler(RULES[name], dict(space)))
    study.optimize(lambda trial: value(trial, space), n_trials=size + 5)
    found = [tuple(t.params[k] for k in searched) for t in study.trials]
    assert len(found) == len(set(found)) == size


def points(d: BaseDistribution) -> list[Any]:
    if isinstance(d, optuna.distributions.CategoricalDistribution):
        return list(d.choices)
    step = getattr(d, "step", None) or 1
    return list(range(round((d.high - d.low) / step) + 1))  # type: ignore[attr-defined]


def value(trial: optuna.Trial, space: dict[str, BaseDistribution]) -> float:
    return float(sum(hash(str(trial._suggest(name, d))) % 7 for name, d in space.items()))


@pytest.mark.parametrize("fails_below", [0.0, 0.4])
def test_every_cell_s_turn_comes_though_the_model_looks_elsewhere(fails_below: float) -> None:
    """A model in love with one corner; without the sweep all points would lie there."""

    def corner(x: tuple[float, ...]) -> float:
        return sum(x) if sum(x) >= fails_below else math.nan

    found = asked(BaMSOO(Nearests(doubt=0.0)), corner, 2, 150)
    ninths = {(int(3 * x), int(3 * y)) for x, y in found}
    assert len(ninths) == 9


def test_a_failed_point_that_is_all_of_its_cell_has_no_turn() -> None:
    """Its neighbour's value would win it every turn of its depth, with nothing left to ask."""
    rule = BaMSOO(Nearests())
    partition = cast(_Isolating, rule.plant((Grid(10),)))
    tree, cursor = partition.tree, rule.start
    for number in range(9):
        choice = partition.choose(cursor)
        cursor = choice.cursor
        assert choice.cell is not None
        (n,) = point = cells.centre(tree.axes, choice.at or choice.cell)
        tree.observe(number, point, Reading.FAILED if n == 6 else float(abs(n - 5)))
        partition.settle()
    assert tree.leaf((6,)).state is State.FAILED and tree.leaf((6,)).axis is None
    posterior = rule.belief(tree.axes, ()).fit(evidence_of(tree), None)
    turns = [leaf for group in partition._valued(posterior).values() for _, leaf in group]
    assert turns and all(tree.is_empty(leaf) for leaf in turns)


def test_the_model_says_what_is_best_in_every_outer_third_of_an_axis() -> None:
    """Not only what lies there beside the centre of all other axes."""
    rest = asked(BaMSOO(Nearests(doubt=0.0)), lambda x: sum(x), 4, 60)[STARTS:]
    thirds = {(i, int(3 * x)) for point in rest for i, x in enumerate(point)}
    assert {(i, third) for i in range(4) for third in (0, 2)} <= thirds
    beside = [point for point in rest if sum(x == 0.5 for x in point) == 3]
    assert len(beside) < 3
    assert min(sum(others) for x, *others in rest if x > 2 / 3) < 0.8


def test_the_model_keeps_away_from_where_trials_failed() -> None:
    """The best values are next to a region in which every trial fails, as with learning rates."""

    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        return math.nan if x > 0.7 else (1 - x) ** 2 + (y - 0.3) ** 2

    study = optuna.create_study(sampler=BaMSOOSampler(seed=0))
    study.optimize(objective, n_trials=40)
    failed = [trial for trial in study.trials if trial.state is TrialState.FAIL]
    assert len(failed) < 20 and study.best_value < 0.11  # at the edge 0.09


def test_workers_who_wait_for_no_value_get_different_points() -> None:
    space = {"x": FloatDistribution(0, 1), "n": IntDistribution(0, 99)}
    for rule in RULES.values():
        study = optuna.create_study(sampler=sampler(rule, dict(space)))
        trials = [study.ask(dict(space)) for _ in range(64)]
        assert len({tuple(trial.params.values()) for trial in trials}) == 64


@by_rule
def test_pictures_read_a_study_of_either_rule(name: str) -> None:
    space = {"x": FloatDistribution(0, 1), "n": IntDistribution(0, 99)}
    study = optuna.create_study(sampler=sampler(RULES[name], dict(space)))
    study.optimize(
        lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 0, 99), 40
    )
    entries = inspection.tree(study)
    inside = sorted(number for e in entries if not e.opened for number in e.cell.trials)
    assert inside == list(range(40))


fits = st.builds(Fit, st.integers(0, 3), st.tuples(st.sampled_from([0.5, 1.5])))
sweeps = st.builds(
    Sweep,
    sweep=st.integers(0, 2),
    depth=st.integers(0, 2),
    limit=st.integers(0, 3),
    best=st.none() | st.sampled_from([-math.inf, -1.0, 0.0, math.inf]),
)
cursors = st.builds(Cursor, sweeps, fits)


@given(cursors, cursors, cursors)
def test_cursors_join_in_any_order(a: Cursor, b: Cursor, c: Cursor) -> None:
    join = RULES["default"].join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)


@given(cursors)
def test_a_cursor_survives_its_json(cursor: Cursor) -> None:
    rule = RULES["default"]
    assert rule.load(*rule.dump(cursor)) == cursor


def test_one_fit_serves_all_workers_and_starts_from_the_one_before() -> None:
    """`Nearest` counts its fits in its hyperparameters; each process would start at one."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study()
    for _ in range(40):
        study.sampler = sampler(RULES["default"], dict(space))  # a new process at every step
        trial = study.ask(dict(space))
        study.tell(trial, sphere((trial.params["x"], trial.params["y"])))
        cursor = trial.storage.get_trial(trial._trial_id).system_attrs["partition"]["cursor"]
    n_ended, theta = cursor[-2:]
    assert theta == [n_ended, 1 + (n_ended - 5) // 5]
    assert len(study.trials) - n_ended <= 5
