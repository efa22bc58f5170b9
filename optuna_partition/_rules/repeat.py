"""Whether to evaluate a point twice can tell anything: values by point, and no model."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Sequence
import math
import statistics

from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree


__all__ = ["is_noisy", "tells"]

_NOTHING = 1e-3  # of the distance from the best value to the median
_TIES = 3


def tells(tree: Tree, point: Point, stopped: Container[int]) -> bool:
    """Whether another value of a point may differ from those that it has.

    Nobody knows before a point has two values, and one repeat in flight is enough to find out. A
    repeat that failed says that its objective cannot be evaluated twice.

    Args:
        tree: What is known.
        point: The point.
        stopped: Trials that have not come to their end: their last words are no values.
    """
    readings = tree.readings(but=stopped)
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
