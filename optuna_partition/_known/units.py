"""Where a value lies in a side of the cube, or beside it; reads no study."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._space.values import axis_of
from optuna_partition._space.values import coordinate_of
from optuna_partition._space.values import is_single


__all__ = ["MIDDLE", "is_number", "unit_of"]

MIDDLE = 0.5
_FARTHEST = 1.0  # outside the cube, in its sides


def unit_of(name: str, distribution: BaseDistribution, value: Any) -> float | None:
    """A value's place, a number outside the range being as far as one range away.

    Where a number is fixed, all numbers are at the one place there is.

    Returns:
        None for what is neither a number nor one of the choices.
    """
    x = coordinate_of(distribution, value)
    if x is not None:
        return axis_of(name, distribution).unit(x)
    if not is_number(value):
        return None
    if isinstance(distribution, CategoricalDistribution):
        is_fixed = is_single(distribution) and is_number(distribution.choices[0])
        return MIDDLE if is_fixed else None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.low == distribution.high:
        return MIDDLE
    if distribution.log and value <= 0:
        return -_FARTHEST
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    share = (scale(value) - low) / (high - low)
    return min(max(share, -_FARTHEST), 1 + _FARTHEST)


def is_number(value: Any) -> bool:
    """Whether it is one and finite, NumPy's included; a truth value is none."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
