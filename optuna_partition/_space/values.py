"""One Optuna distribution <-> one axis: values and coordinates; the only translator."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from fractions import Fraction
import hashlib
import math
import sys
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.axes import float_above
from optuna_partition._core.axes import float_below
from optuna_partition._core.axes import float_step
from optuna_partition._core.axes import Grid
from optuna_partition._core.axes import LogGrid


__all__ = [
    "axis_of",
    "coordinate_of",
    "fingerprint_of",
    "integers",
    "internal_of",
    "is_same",
    "is_single",
    "kinds",
    "single",
    "value_at",
]

_FEWEST_ULPS = 8  # neighbouring centres differ by at least this many units in the last place


def fingerprint_of(distributions: Mapping[str, BaseDistribution]) -> str:
    lines = (f"{name} {distribution_to_json(d)}{_thinned(d)}" for name, d in distributions.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _thinned(distribution: BaseDistribution) -> str:
    """What there is of a distribution where that is not every value by itself; else nothing."""
    if isinstance(distribution, CategoricalDistribution):
        count = max(kinds(distribution)) + 1
        return "" if count == len(distribution.choices) else f" {count} kinds"
    if isinstance(distribution, IntDistribution):
        low, step = integers(distribution)
        beyond = distribution.log and float_step(distribution.high) > 1
        return f" {low} {step}" if beyond or step != distribution.step else ""
    return ""


def single(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """One value of a distribution, as one of finitely many: a float, too; NumPy's as Python's."""
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(value), int(value))
    return CategoricalDistribution((value.item() if isinstance(value, np.generic) else value,))


def is_single(distribution: BaseDistribution) -> bool:
    """Whether a distribution has one value, equal choices being one."""
    if isinstance(distribution, CategoricalDistribution):
        return max(kinds(distribution)) == 0
    return distribution.single()


def kinds(distribution: CategoricalDistribution) -> tuple[int, ...]:
    """For each choice its place among those that Optuna can tell apart.

    Of choices that are equal it keeps the first: 1, 1.0 and True are one to it, and so is nan.
    """
    choices = distribution.choices
    if _are_told_apart(choices):  # as nearly always, and quickly seen
        return tuple(range(len(choices)))
    firsts: list[Any] = []
    found: list[int] = []
    for choice in choices:
        same = (i for i, first in enumerate(firsts) if _is_equal(first, choice))
        found.append(next(same, len(firsts)))
        if found[-1] == len(firsts):
            firsts.append(choice)
    return tuple(found)


def _are_told_apart(choices: Sequence[Any]) -> bool:
    try:
        return len(set(choices)) == len(choices) and sum(c != c for c in choices) < 2
    except TypeError:  # not all can be hashed
        return False


def _is_equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


def integers(distribution: IntDistribution, name: str = "") -> tuple[int, int]:
    """The first and the step of the integers that Optuna can keep, which it does as floats.

    Args:
        distribution: A parameter's.
        name: The parameter's, for the message.

    Raises:
        ValueError: It would take its own values for others, outside the distribution.
    """
    low, high, step = distribution.low, distribution.high, distribution.step
    every = float_step(max(abs(low), abs(high), high - low, 1))
    if distribution.log:
        first, step = float_above(low), 1
    elif (low | step) % every == 0:
        first = low
    else:
        first = -(-low // every) * every
        step = every if every % step == 0 and low % step == 0 else 0
    if first > high or step == 0:
        raise ValueError(
            "`low` and `step` must give integers that are exact as floats, which is how Optuna "
            f"keeps them, but got ({name}={distribution}); suggest a smaller integer, and let the "
            "objective multiply or add."
        )
    return first, step


def axis_of(name: str, distribution: BaseDistribution) -> Axis:
    if isinstance(distribution, CategoricalDistribution):
        return Grid(max(kinds(distribution)) + 1, ordered=False)
    if isinstance(distribution, IntDistribution):
        low, step = integers(distribution, name)
        if distribution.log:
            return LogGrid(low, float_below(distribution.high))
        return Grid((distribution.high - low) // step + 1)
    if isinstance(distribution, FloatDistribution):
        if distribution.step is not None:
            return Grid(round((distribution.high - distribution.low) / distribution.step) + 1)
        return Continuous(_levels(distribution))
    raise ValueError(
        f"`search_space` must map names to Optuna distributions, but got ({name}={distribution!r})"
        "; use FloatDistribution, IntDistribution or CategoricalDistribution."
    )


def _levels(distribution: FloatDistribution) -> int:
    """How often an axis can be cut before two centres come too close to tell apart."""
    low, high = _scale(distribution)
    width, resolution = high - low, _resolution(distribution)
    if not math.isfinite(width):
        raise ValueError(
            f"`high - low` must be a finite float, but got ({distribution}); narrow the range or "
            "use log=True."
        )
    return max(0, math.floor(math.log(width / resolution, 3))) if width > resolution else 0


def _resolution(distribution: FloatDistribution) -> float:
    """The least distance of two centres, on the scale that is cut evenly."""
    magnitude = max(map(abs, _scale(distribution)))
    finest = max(1.0, magnitude) * sys.float_info.epsilon if distribution.log else 0.0
    return max(finest, math.ulp(magnitude)) * _FEWEST_ULPS


def _scale(distribution: FloatDistribution) -> tuple[float, float]:
    """The ends of the axis on the scale that is cut evenly."""
    if distribution.log:
        return math.log(distribution.low), math.log(distribution.high)
    return distribution.low, distribution.high


def value_at(distribution: BaseDistribution, x: Coordinate) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[kinds(distribution).index(int(x))]
    if isinstance(distribution, IntDistribution):
        first, every = integers(distribution)
        return int(x) if distribution.log else first + int(x) * every
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        return min(distribution.low + int(x) * distribution.step, distribution.high)
    low, high = _scale(distribution)
    value = low + float(x) * (high - low)
    value = math.exp(value) if distribution.log else value
    return min(max(value, distribution.low), distribution.high)


def internal_of(distribution: BaseDistribution, value: Any) -> float | None:
    """The number that Optuna keeps for a value; None where that is outside the distribution.

    That only `_contains` tells in public is told by an error, of `create_trial` for a whole trial.
    """
    try:
        internal = distribution.to_internal_repr(value)
    except ValueError:  # not a choice, or not a number
        return None
    return internal if distribution._contains(internal) else None


def coordinate_of(distribution: BaseDistribution, value: Any) -> Coordinate | None:
    internal = internal_of(distribution, value)
    if internal is None:
        return None
    if isinstance(distribution, CategoricalDistribution):
        return kinds(distribution)[int(internal)]
    if isinstance(distribution, IntDistribution):
        if distribution.log:
            return int(internal)
        first, every = integers(distribution)
        nearest = (int(internal) - first + every // 2) // every
        return min(max(nearest, 0), (distribution.high - first) // every)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        return round((internal - distribution.low) / distribution.step)
    return _unit(distribution, internal)


def _unit(distribution: FloatDistribution, value: float) -> Fraction:
    """Where a value lies: at the centre of a cell if it is that centre, rounded to a float.

    So a point is the same point whoever asked for it. The first trial of a study takes the centre
    before there is a tree, and people enqueue what they have read off another trial.
    """
    low, high = _scale(distribution)
    if not high > low:
        return Fraction(1, 2)
    scaled = math.log(value) if distribution.log else value
    share = min(max((scaled - low) / (high - low), 0.0), 1.0)
    rounding = _resolution(distribution) / (high - low) / 2  # no two centres are as close to it
    for level in range(_levels(distribution) + 1):
        parts: int = 3**level
        index = min(int(share * parts), parts - 1)
        if abs(share * parts - index - 0.5) < rounding * parts:
            return Fraction(2 * index + 1, 2 * parts)
    return Fraction(share)


def is_same(distribution: BaseDistribution, ours: Any, theirs: Any) -> bool:
    if isinstance(distribution, FloatDistribution):
        width = distribution.high - distribution.low
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12 * width)
    return coordinate_of(distribution, ours) == coordinate_of(distribution, theirs)
