"""From a coordinate of the unit interval to a parameter's value; pure arithmetic."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


def at(axis: BaseDistribution, unit: float) -> Any:
    """The value at `unit` in [0, 1]; values of a grid and choices have equal parts of it."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[min(int(unit * len(axis.choices)), len(axis.choices) - 1)]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    half = axis.step / 2 if axis.step is not None else 0.0
    low, high = axis.low - half, axis.high + half
    if axis.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if axis.step is not None:
        value = axis.low + axis.step * round((value - axis.low) / axis.step)
    value = min(max(value, axis.low), axis.high)
    return int(value) if isinstance(axis, IntDistribution) else value
