"""Points of trials that begin before the search space is known; knows spaces and no study."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_partition._space.space import Space


__all__ = ["expected", "first_value"]


def first_value(
    number: int, suggested: Mapping[str, BaseDistribution], distribution: BaseDistribution
) -> Any:
    """A parameter of a trial that began before the space was known, where it is on a grid.

    Such trials know nothing of each other but their numbers. So the point of trial n is n itself,
    written in mixed radix with a digit for each axis: two of them meet only when all points of the
    grid are used up. The digit 0 is the centre.

    Args:
        number: The trial's.
        suggested: What the trial has suggested; the order does not count.
        distribution: Of the parameter.

    Returns:
        The parameter's value; None where the axis is continuous, and chance never meets.
    """
    space = Space({"": distribution})
    (axis,) = space.axes
    if not math.isfinite(axis.size()):
        return None
    before = [a.size() for a in Space(suggested).axes if math.isfinite(a.size())]
    digit = number // int(math.prod(before))
    first, last = axis.whole()
    centre = axis.centre((first, last))
    return space.params((first + (centre - first + digit) % (last - first + 1),))[""]


def expected(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> Mapping[str, Any]:
    """What a running trial that began early has suggested, and the last parameter if it lacks one.

    So its point is known before its last parameter is written down, and left to it.
    """
    suggested = {name: d for name, d in trial.distributions.items() if name in space}
    lacking = [name for name in space if name not in suggested]
    if not suggested or len(lacking) != 1:
        return trial.params
    last = first_value(trial.number, suggested, space[lacking[0]])
    return trial.params if last is None else {**trial.params, lacking[0]: last}
