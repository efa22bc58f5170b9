"""Which point is evaluated again, and whether that can tell anything; no model."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterator
from collections.abc import Sequence
import math
import statistics

from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree


__all__ = ["is_noisy", "next_again", "tells"]

_NOTHING = 1e-3  # of the distance from the best value to the median
_TIES = 3


def tells(tree: Tree, point: Point, stopped: Container[int]) -> bool:
    """Whether another value of a point may differ from those that it has; so may its first.

    Nobody knows before a point has two values, and one repeat in flight is enough to find out. A
    repeat that failed says that its objective cannot be evaluated twice.

    Args:
        tree: What is known.
        point: The point.
        stopped: Trials that have not come to their end: their last words are no values.
    """
    readings = tree.readings(but=stopped)
    if not readings[point]:
        return True
    if Reading.FAILED in readings[point]:
        return False
    noisy = is_noisy([_values(each) for each in readings.values()])
    if noisy is None:
        return not any(Reading.FLYING in each and _values(each) for each in readings.values())
    return noisy


def is_noisy(values: Sequence[Sequence[float]]) -> bool | None:
    """Whether the values of a point differ; None where that is not known.

    Differences that nobody would notice are those of rounding. Where values of different points
    are equal, as accuracies are, a few of one point may be so by chance.

    Args:
        values: Of each point, those that it has; +-inf allowed.
    """
    several = [each for each in values if len(each) > 1]
    if any(_differ(each, _NOTHING * _spread(values)) for each in several):
        return True
    firsts = [each[0] for each in values if each]
    enough = 1 if len(set(firsts)) == len(firsts) else _TIES
    return False if sum(len(each) - 1 for each in several) >= enough else None


def _values(readings: Sequence[float | Reading]) -> list[float]:
    return [reading for reading in readings if not isinstance(reading, Reading)]


def _differ(values: Sequence[float], by: float) -> bool:
    least, most = min(values), max(values)
    return least < most and most - least > by


def _spread(values: Sequence[Sequence[float]]) -> float:
    finite = [value for each in values for value in each if math.isfinite(value)]
    return statistics.median(finite) - min(finite) if finite else 0.0


def next_again(tree: Tree, done: Container[Point] = ()) -> Point:
    """The point that comes again when all of a finite space are taken; workers take turns.

    Then a point is a branch: parameters outside the space are what is searched, and how many
    trials a point has is how deep its search is. The rule is SOO's, with powers of two for depths:
    a sweep takes the best point of a depth if it is better than every one less deep. So the best
    are searched most, and none is left behind.

    Args:
        tree: In which all points are taken.
        done: Points of which it is known that there is no more to them.
    """
    searched = tree.readings()
    left = {p: readings for p, readings in searched.items() if p not in done}
    # of the others nobody knows yet whether there is more to them
    ended = {p: r for p, r in left.items() if any(each is not Reading.FLYING for each in r)}
    left = ended or left or searched
    front = list(_front(left))
    return front[sum(map(len, left.values())) % len(front)]


def _front(searched: dict[Point, list[float | Reading]]) -> Iterator[Point]:
    """The points a sweep would take, the least searched first."""
    best = math.inf

    def rank(point: Point) -> tuple[int, float, Point]:
        readings = searched[point]
        return len(readings).bit_length(), _best(readings), point

    for i, (_, value, point) in enumerate(sorted(map(rank, searched))):
        if i == 0 or value < best:
            best = value
            yield point


def _best(readings: list[float | Reading]) -> float:
    """The best value; a point that has none yet may be the best, one that failed is the worst."""
    values = [reading for reading in readings if not isinstance(reading, Reading)]
    return min(values, default=-math.inf if Reading.FLYING in readings else math.inf)
