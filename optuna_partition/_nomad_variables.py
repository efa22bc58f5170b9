"""Optuna's distributions <-> the variables of NOMAD; knows no trial and no process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


__all__ = ["name_of", "Variable", "variable"]

_LARGEST = 2**53  # beyond it a float is not every integer


@dataclass(frozen=True)
class Variable:
    """A parameter as NOMAD sees it.

    ==========================  ==============================  =============
    parameter                   variable                        NOMAD's type
    ==========================  ==============================  =============
    float                       itself                          R
    float, `log=True`           its decimal logarithm           R
    integer, `log=True`         the same, rounded when used     R
    other integer, float steps  steps above `low`               I
    category                    index of the choice             I
    ==========================  ==============================  =============

    Args:
        distribution: The parameter's.
        kind: NOMAD's type.
        low: Lower bound.
        high: Upper bound.
    """

    distribution: BaseDistribution
    kind: str
    low: float
    high: float

    @property
    def centre(self) -> float:
        """Where a search begins that knows nothing."""
        return (self.low + self.high) / 2 if self.kind == "R" else float((self.high) // 2)

    def value(self, x: float) -> Any:
        """The parameter's value, native and inside its distribution."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[round(x)]
        assert isinstance(d, FloatDistribution | IntDistribution)
        if self.kind == "I":
            value = d.low + round(x) * (d.step or 1)
        else:
            value = 10**x if d.log else x
        value = min(max(value, d.low), d.high)
        return round(value) if isinstance(d, IntDistribution) else float(value)

    def coordinate(self, value: Any) -> float:
        """Where a value of the distribution lies."""
        d = self.distribution
        internal = d.to_internal_repr(value)
        if isinstance(d, CategoricalDistribution):
            return internal
        assert isinstance(d, FloatDistribution | IntDistribution)
        if self.kind == "I":
            return float(round((internal - d.low) / (d.step or 1)))
        return min(max(math.log10(internal) if d.log else internal, self.low), self.high)


def variable(distribution: BaseDistribution) -> Variable:
    """The variable that stands for a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return Variable(distribution, "I", 0.0, len(distribution.choices) - 1.0)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = abs(distribution.low), abs(distribution.high)
    if isinstance(distribution, IntDistribution) and max(ends) > _LARGEST:
        raise ValueError(
            f"`-2**53 <= low` and `high <= 2**53` must hold, but got ({distribution}): NOMAD "
            "takes integers as floats; use a smaller range, or SOOSampler."
        )
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        return Variable(distribution, "R", math.log10(low), math.log10(high))
    if step is not None:
        return Variable(distribution, "I", 0.0, float(round((high - low) / step)))
    return Variable(distribution, "R", low, high)


def name_of(space: Mapping[str, BaseDistribution], params: Mapping[str, Any]) -> str | None:
    """A name that tells points apart, up to the rounding of a float; None outside the space."""
    names = []
    for parameter, distribution in space.items():
        if parameter not in params:
            return None
        try:
            internal = distribution.to_internal_repr(params[parameter])
        except ValueError:  # not a choice, or not a number
            return None
        if not distribution._contains(internal):
            return None
        names.append(f"{internal + 0.0:.12g}")
    return " ".join(names)
