"""Points of trials that begin before the search space is known; knows spaces and no study."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from itertools import count
from itertools import islice
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_partition._space.space import Space


__all__ = ["provisional_params", "first_value"]


def first_value(
    number: int, suggested: Mapping[str, BaseDistribution], distribution: BaseDistribution
) -> Any:
    """A parameter of a trial that began before the space was known.

    Such trials know nothing of each other but their numbers. So the point of trial n is n itself,
    written in mixed radix with a digit for each axis of finitely many values: two of them meet
    only when all points of the grid are used up. The digit 0 is the centre. On a continuous axis
    trial n is at n steps from the centre, round and round: a Kronecker sequence.

    Args:
        number: The trial's.
        suggested: What the trial has suggested before.
        distribution: Of the parameter.

    Returns:
        The parameter's value.
    """
    space, before = Space({"": distribution}), [axis.size() for axis in Space(suggested).axes]
    (axis,) = space.axes
    grids = [size for size in before if math.isfinite(size)]
    if not math.isfinite(axis.size()):
        step = _step(len(before) - len(grids))
        return space.params((Fraction((0.5 + number * step) % 1),))[""]
    digit = number // int(math.prod(grids))
    first, last = axis.whole()
    centre = axis.centre((first, last))
    return space.params((first + (centre - first + digit) % (last - first + 1),))[""]


@cache
def _step(axis: int) -> float:
    """Of a Kronecker sequence: no multiple of a prime's root is whole, so no two values meet."""
    primes = (n for n in count(2) if all(n % d for d in range(2, math.isqrt(n) + 1)))
    return math.sqrt(next(islice(primes, axis, None))) % 1


def provisional_params(
    trial: FrozenTrial, space: Mapping[str, BaseDistribution]
) -> Mapping[str, Any]:
    """What a running trial that began early has suggested, and where the rest would lie.

    So a point of its slice is left to it, however long it takes to come to its other parameters.
    One that has suggested nothing has no slice yet.
    """
    suggested = {name: d for name, d in trial.distributions.items() if name in space}
    params = dict(trial.params)
    if not suggested:
        return params
    for name in [name for name in space if name not in suggested]:
        params[name] = first_value(trial.number, suggested, space[name])
        suggested[name] = space[name]
    return params
