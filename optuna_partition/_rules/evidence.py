"""What trials say, as evidence for models: values, forecasts of values, constraints, failures.

The value is learnt from all trials that have one, feasible or not. A trial that was stopped or
still runs has the value that its curve forecasts, with the noise of that forecast; where it was
evaluated again to the end, that counts in its place.

Each constraint that trials set is learnt from those that set it. Where trials fail, "ends well" is
one more constraint: -1 where a trial had a value, 3 where it failed. So a region where trainings
die is left after a few deaths, and nothing is said of the values that they would have had. That 3
is more than 1 puts the bound nearer to what has ended well: between the two, most of the way is
taken to be bad.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import math
import statistics
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Observation
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import AS_GOOD_AS_INFINITE
from optuna_partition._rules.belief import Early
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import MOST_VALUES
from optuna_partition._rules.belief import ranking
from optuna_partition._rules.belief import thinned
from optuna_partition._rules.belief import units
from optuna_partition._rules.belief import winsorised
from optuna_partition._rules.curves import Curve
from optuna_partition._rules.curves import Curves


__all__ = ["Reports", "evidence_of", "for_candidates_func", "trainings_saved"]

_FEWEST = 2  # values of a constraint that has a model
_ENDED, _DIED = -1.0, 3.0
_LEAST_REST = 0.25  # of an evaluation: to take something up costs a trial, whatever is left of it
_MOST_FORECAST = 200  # trials; the time of a forecast grows with their square
_SLIGHTEST = 1e-12  # violation: of what is infeasible it is never 0


def evidence_of(
    tree: Tree, reports: Mapping[int, Reports] = MappingProxyType({}), *, resumes: bool = True
) -> Evidence:
    """What a tree knows, for a model of the value and one of each constraint.

    Args:
        tree: Of the trials.
        reports: What these have reported, by number.
        resumes: Whether an objective goes on from where a trial was stopped.
    """
    said = tree.said()
    ended = [o for o in said.values() if o.reading is not Reading.FLYING]
    rows, early = _with_forecasts(tree.axes, said, _curves(tree, said, reports))
    if early is not None and not resumes:
        early = replace(early, rest=np.full_like(early.rest, math.inf))
    is_mixed = any(o.reading is Reading.INFEASIBLE for o, _ in rows)
    about = _About(tree.axes, units(tree.axes, tree.points(Reading.FLYING)))
    constraints = [about.constraint(table) for table in _named(ended) if len(table) >= _FEWEST]
    if endings := _endings(ended):
        constraints.append(replace(about.constraint(endings), is_failure=True))
    distance = _violations([o for o, _ in rows]) if is_mixed else None
    return about.evidence(rows, len(ended), distance, tuple(constraints), early)


# ---- values that are forecast ----


@dataclass(frozen=True)
class Reports:
    """What a trial has reported, smaller being better.

    Args:
        steps: Ascending.
        values: At these.
        end: The value it ended with; None while it runs and where it was stopped.
    """

    steps: Sequence[float]
    values: Sequence[float]
    end: float | None


def trainings_saved(said: Mapping[int, Observation], reports: Mapping[int, Reports]) -> float:
    """How many trainings' worth of steps was left undone by stopping.

    Args:
        said: What trials say.
        reports: What they have reported.
    """
    lengths = [each.steps[-1] for each in reports.values() if each.end is not None]
    length = statistics.median(lengths) if lengths else 0.0
    stopped = [
        reports[number].steps[-1]
        for number, o in said.items()
        if o.reading is not Reading.FLYING and number in reports and reports[number].end is None
    ]
    return sum(max(1 - last / length, 0.0) for last in stopped) if length > 0 else 0.0


def _curves(
    tree: Tree, said: Mapping[int, Observation], reports: Mapping[int, Reports]
) -> dict[int, Curve]:
    """The curves of trials that say where they are, by number."""
    if all(each.end is not None for each in reports.values()):
        return {}  # all have come to their end: there is nothing to forecast
    numbers = [number for number in said if number in reports]
    x = units(tree.axes, (said[number].point for number in numbers))
    found = zip(numbers, x, (reports[number] for number in numbers), strict=True)
    return {n: Curve(at, np.array(r.steps), np.array(r.values), r.end) for n, at, r in found}


def _with_forecasts(
    axes: Sequence[Axis], said: Mapping[int, Observation], curves: Mapping[int, Curve]
) -> tuple[_Table, Early | None]:
    """What trials measured, and what is expected of those that have not come to their end."""
    known = Curves.of([*curves.values()]) if curves else None
    measured = [
        (o, o.value)
        for number, o in said.items()
        if o.value is not None and (known is None or not _is_open(number, curves))
    ]
    numbers = _to_forecast(said, curves, {o.point for o, _ in measured})
    if known is None or not numbers:
        return measured, None
    ends = known.ends([curves[number] for number in numbers])
    most = winsorised(np.array([*(value for _, value in measured), *ends.medians])).max()
    middle, errors = ends.drawn_in(float(most))
    forecast = [(said[n], float(value)) for n, value in zip(numbers, middle, strict=True)]
    rest = _rests([curves[n] for n in numbers], [c for c in curves.values() if c.end is not None])
    held = _held(said, curves)
    rest[[o.point in held or not _is_a_centre(axes, o.point) for o, _ in forecast]] = math.inf
    return [*measured, *forecast], _early(len(measured), errors, ends.correlation, rest)


def _is_open(number: int, curves: Mapping[int, Curve]) -> bool:
    return number in curves and curves[number].end is None


def _to_forecast(
    said: Mapping[int, Observation], curves: Mapping[int, Curve], whole: Container[Point]
) -> list[int]:
    """The trials that have not come to their end, by number; of a point the farthest one.

    Args:
        said: What trials say.
        curves: What they have reported.
        whole: Where another trial has been measured.
    """
    farthest: dict[Point, int] = {}
    for number in sorted(curves, key=lambda number: float(curves[number].steps[-1])):
        o = said[number]
        if _is_open(number, curves) and o.reading is not Reading.FAILED and o.point not in whole:
            farthest[o.point] = number
    numbers = sorted(farthest.values())
    lasts = np.array([curves[number].values[-1] for number in numbers])
    return [numbers[i] for i in thinned(ranking(lasts), _MOST_FORECAST)]


def _rests(curves: Sequence[Curve], ended: Sequence[Curve]) -> Array:
    """The share of an evaluation that is left to curves, by how long others were."""
    length = statistics.median(float(curve.steps[-1]) for curve in ended)
    left = [1 - float(curve.steps[-1]) / length if length else 0.0 for curve in curves]
    return np.maximum(left, _LEAST_REST)


def _held(said: Mapping[int, Observation], curves: Mapping[int, Curve]) -> set[Point]:
    """The points that are not to be taken up: a trial is there, or one failed there.

    It is all of them where a trial came no farther than one before it at its point. Its pruner
    knows nothing of earlier trials, and would stop it there as often as it is asked for.
    """
    held = {o.point for o in said.values() if o.reading in (Reading.FLYING, Reading.FAILED)}
    reached: dict[Point, float] = {}
    for number, o in said.items():
        if _is_open(number, curves) and o.point not in held:
            step = float(curves[number].steps[-1])
            if step <= reached.get(o.point, -math.inf):
                return {o.point for o in said.values()}
            reached[o.point] = step
    return held


def _is_a_centre(axes: Sequence[Axis], point: Point) -> bool:
    """Whether a trial can be asked for at a point: one beside it would be another evaluation."""
    pairs = zip(axes, point, strict=True)
    return all(axis.centre(axis.pin(axis.unit(x))) == x for axis, x in pairs)


def _early(n_measured: int, errors: Array, correlation: Array, rest: Array) -> Early:
    """Of rows that were measured and, after these, of rows that are forecast."""
    n = n_measured + len(rest)
    among = np.zeros((n, n))
    among[n_measured:, n_measured:] = correlation
    none = np.zeros(n_measured)
    return Early(np.concatenate([none, errors]), among, np.concatenate([none + 1, rest]))


# ---- constraints and failures ----


_Table: TypeAlias = Sequence[tuple[Observation, float]]


@dataclass(frozen=True)
class _About:
    """What all evidence of an ask shares: the axes, and where trials run."""

    axes: Sequence[Axis]
    pending: Array

    def evidence(
        self,
        table: _Table,
        n_ended: int,
        distance: Array | None = None,
        constraints: tuple[Evidence, ...] = (),
        early: Early | None = None,
    ) -> Evidence:
        """Rows of a table, thinned out if it is much."""
        y = np.array([value for _, value in table], dtype=np.float64)
        kept = thinned(ranking(y, distance), MOST_VALUES)
        x = units(self.axes, [table[i][0].point for i in kept])
        distance = None if distance is None else distance[kept]
        early = None if early is None else early.of(kept)
        return Evidence(x, y[kept], self.pending, n_ended, distance, constraints, early=early)

    def constraint(self, table: _Table) -> Evidence:
        """Of one constraint; what is nearest to its bound matters most."""
        return self.evidence(table, len(table), np.abs([value for _, value in table]))


def for_candidates_func(evidence: Evidence, y: Array) -> tuple[Array, Array, Array | None]:
    """What a function is told that has a model of its own: points, values, constraints.

    Points that failed have the worst value. Constraints are in the order of their names, (n, k),
    and NaN where a trial has not set one; None where no trial has.

    Args:
        evidence: What is known.
        y: The values of its rows, as the function sees them.
    """
    x = evidence.x
    for each in evidence.constraints:
        if each.is_failure:
            died = each.x[each.y > 0]
            x, y = np.concatenate([x, died]), np.concatenate([y, np.full(len(died), y.max())])
    tables = [
        {at.tobytes(): value for at, value in zip(each.x, each.y, strict=True)}
        for each in evidence.constraints
        if not each.is_failure
    ]
    rows = [[table.get(at.tobytes(), math.nan) for table in tables] for at in x]
    return x, y, np.array(rows) if tables else None


def _named(ended: Sequence[Observation]) -> list[_Table]:
    """The values of each constraint, by name, where trials have set it."""
    names = sorted({name for o in ended for name, _ in o.constraints})
    given = [(o, dict(o.constraints)) for o in ended]
    return [[(o, has[name]) for o, has in given if name in has] for name in names]


def _endings(ended: Sequence[Observation]) -> _Table:
    """Whether trials end well; nothing if all do, or none."""
    died = [o.reading is Reading.FAILED for o in ended]
    if all(died) or not any(died):
        return []
    told = [o for o in ended if o.reading is Reading.FAILED or o.value is not None]
    return [(o, _DIED if o.reading is Reading.FAILED else _ENDED) for o in told]


def _violations(rows: Sequence[Observation]) -> Array:
    """How much is violated in all, in deviations of each constraint."""
    found = np.array([_SLIGHTEST if o.reading is Reading.INFEASIBLE else 0.0 for o in rows])
    given = [dict(o.constraints) for o in rows]
    for name in sorted({name for has in given for name in has}):
        values = np.array([has.get(name, -math.inf) for has in given])
        finite = values[np.abs(values) < AS_GOOD_AS_INFINITE]
        spread = float(finite.std()) if len(finite) else 0.0
        found += np.maximum(values, 0) / (spread or 1.0)
    return found
