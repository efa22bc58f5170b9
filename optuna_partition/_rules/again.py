"""Which point comes again when all of a finite space are taken and trials have more than it.

Then a point is a branch: parameters outside the space are what is searched, and how many trials a
point has is how deep its search is. The rule is SOO's, with powers of two for depths: a sweep
takes the best point of a depth if it is better than every one less deep. So the best are searched
most, and none is left behind.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterator
import math

from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree


__all__ = ["again"]


def again(tree: Tree, done: Container[Point] = ()) -> Point:
    """The point of the next trial; trials in flight count, so that workers take turns.

    Args:
        tree: In which all points are taken.
        done: Points of which it is known that there is no more to them.
    """
    searched: dict[Point, list[float | Reading]] = {}
    for leaf in tree.leaves():
        for observation in leaf.observations.values():
            searched.setdefault(observation.point, []).append(observation.reading)
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
