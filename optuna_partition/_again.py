"""Which point comes again when all of a finite space are taken and trials have more than it.

Then a point is a branch: parameters outside the space are what is searched, and how many trials a
point has is how deep its search is. The rule is SOO's, with powers of two for depths: a sweep
takes the best point of a depth if it is better than every one less deep. So the best are searched
most, and none is left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
import math

from optuna_partition._cells import Point
from optuna_partition._node import Reading
from optuna_partition._tree import Tree


__all__ = ["again"]


def again(tree: Tree) -> Point:
    """The point of the next trial; trials in flight count, so that workers take turns."""
    searched: dict[Point, list[float]] = {}
    for leaf in tree.leaves():
        for observation in leaf.observations.values():
            reading = observation.reading
            value = math.inf if isinstance(reading, Reading) else reading
            searched.setdefault(observation.point, []).append(value)
    front = list(_front(searched))
    return front[sum(map(len, searched.values())) % len(front)]


def _front(searched: dict[Point, list[float]]) -> Iterator[Point]:
    """The points a sweep would take, the least searched first."""
    depths = {point: len(values).bit_length() for point, values in searched.items()}
    best = None
    for point in sorted(searched, key=lambda p: (depths[p], min(searched[p]), p)):
        if best is None or min(searched[point]) < best:
            best = min(searched[point])
            yield point
