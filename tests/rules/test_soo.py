"""SOO is SOO: a textbook loop point by point, and the log of a published study."""

from __future__ import annotations

from collections.abc import Callable
import csv
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import optuna
from optuna.distributions import FloatDistribution
import pytest
from textbook import soo

from optuna_partition import SOOSampler
from optuna_partition._rules.soo import Cursor
from optuna_partition._rules.soo import SOO


Function = Callable[[tuple[float, ...]], float]


def sphere(x: tuple[float, ...]) -> float:
    return sum((v - 0.37 - 0.1 * i / len(x)) ** 2 for i, v in enumerate(x))


def rastrigin(x: tuple[float, ...]) -> float:
    return sum((6 * v - 2.2) ** 2 - math.cos(2 * math.pi * (6 * v - 2.2)) for v in x)


def rosenbrock(x: tuple[float, ...]) -> float:
    y = [4 * v - 2 for v in x] + [1.0]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(y, y[1:], strict=False))


def staircase(x: tuple[float, ...]) -> float:
    """Plateaus: most comparisons are exact ties."""
    return float(sum(abs(int(5 * v) - 3) for v in x))


def trials_of(f: Function, dimensions: int, n: int, direction: str = "minimize") -> list[tuple]:
    space = {f"x{i}": FloatDistribution(0, 1) for i in range(dimensions)}
    sign = 1 if direction == "minimize" else -1

    def objective(trial: optuna.Trial) -> float:
        return sign * f(tuple(trial.suggest_float(name, 0, 1) for name in space))

    study = optuna.create_study(sampler=SOOSampler(search_space=dict(space)), direction=direction)
    study.optimize(objective, n_trials=n)
    return [tuple(trial.params[name] for name in space) for trial in study.trials]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 6])
@pytest.mark.parametrize("f", [sphere, rastrigin, rosenbrock, staircase])
def test_the_sequence_is_the_textbook_s(f: Function, dimensions: int, direction: str) -> None:
    def tied(x: tuple[float, ...]) -> float:
        return round(f(x), 9)  # the textbook's floats must not break an exact tie

    n = 60 if dimensions == 1 else 200
    asked = trials_of(tied, dimensions, n, direction)
    expected = [point for point, _ in zip(soo(tied, dimensions), range(n), strict=False)]
    assert asked == [pytest.approx(point, abs=1e-9) for point in expected]


LOG = Path(__file__).parents[1] / "data" / "ola2025_llama1b.csv"
BOX = {
    "raw_rank": FloatDistribution(2, 64),
    "raw_alpha": FloatDistribution(1, 64),
    "dropout": FloatDistribution(0, 0.5),
    "log10_learning_rate": FloatDistribution(-10, -1),
    "log10_weight_decay": FloatDistribution(-5, -1),
}
Raw = tuple[float, ...]


def trained(raw: Raw) -> Raw:
    """The parameters the authors' code trained with: it truncates the integers."""
    rank, alpha, dropout, learning_rate, weight_decay = raw
    return (int(rank), int(alpha), dropout, 10**learning_rate, 10**weight_decay)


def distance(a: Raw, b: Raw) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


class Log:
    """The published evaluations as an objective.

    The authors skip a child whose trained parameters are within 1e-4 of its parent's; such a
    point is not in the log, and has the score of the nearest earlier one.
    """

    def __init__(self) -> None:
        with LOG.open() as file:
            rows = [row for row in csv.DictReader(file) if row["method"] == "soo"]
        self.points = [tuple(float(row[name]) for name in BOX) for row in rows]
        self.scores = [float(row["hellaswag_acc"]) for row in rows]
        self.asked: list[int] = []
        self.seen: list[tuple[Raw, float]] = []

    def __call__(self, trial: optuna.Trial) -> float:
        raw = tuple(trial.suggest_float(name, d.low, d.high) for name, d in BOX.items())
        score = self._score(raw)
        self.seen.append((trained(raw), score))
        return score

    def _score(self, raw: Raw) -> float:
        for order, point in enumerate(self.points):
            if raw == pytest.approx(point, abs=1e-6):
                self.asked.append(order)
                return self.scores[order]
        return min(self.seen, key=lambda seen: distance(seen[0], trained(raw)))[1]


def test_the_published_log_is_followed_for_its_first_29_points() -> None:
    """Then the authors' code breaks an exact tie between two axes by rounding."""
    log = Log()
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(BOX)), direction="maximize")
    study.optimize(log, n_trials=40)
    assert log.asked[:29] == list(range(29))
    assert log.asked[29] != 29


cursors = st.builds(
    Cursor,
    sweep=st.integers(0, 2),
    depth=st.integers(0, 2),
    limit=st.integers(0, 3),
    best=st.none() | st.sampled_from([-math.inf, -1.0, 0.0, math.inf]),
)


@given(cursors, cursors, cursors)
def test_cursors_join_in_any_order(a: Cursor, b: Cursor, c: Cursor) -> None:
    join = SOO().join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)


@given(cursors)
def test_a_cursor_survives_its_json(cursor: Cursor) -> None:
    assert SOO().load(*SOO().dump(cursor)) == cursor
