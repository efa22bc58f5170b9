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

from optuna_partition._space.values import internal_of
from optuna_partition._space.values import kinds


__all__ = ["name_of", "Variable", "variable"]

_LARGEST = 2**53  # beyond it a float is not every integer
_NARROWEST, _WIDEST = 1e-6, 1e100
"""Widths NOMAD searches well: it takes 1e-13 for 0, and crashes where two bounds are equal."""


@dataclass(frozen=True)
class Variable:
    """A parameter as NOMAD sees it.

    ==========================  ==============================  =============
    parameter                   variable                        NOMAD's type
    ==========================  ==============================  =============
    float                       itself                          R
    float, `log=True`           its decimal logarithm           R
    integer, `log=True`         the same, rounded when used     R
    any of these, where the     its share of the range          R
    range is no width for NOMAD
    other integer, float steps  steps above `low`               I
    category                    index of the choice             I
    ==========================  ==============================  =============

    Args:
        distribution: The parameter's.
        kind: NOMAD's type.
        low: Lower bound.
        high: Upper bound.
        origin: What the variable is 0 at, on a real axis.
        scale: What the variable is 1 per.
    """

    distribution: BaseDistribution
    kind: str
    low: float
    high: float
    origin: float = 0.0
    scale: float = 1.0

    @property
    def centre(self) -> float:
        """Where a search begins that knows nothing."""
        return (self.low + self.high) / 2 if self.kind == "R" else float((self.high) // 2)

    def value(self, x: float) -> Any:
        """The parameter's value, native and inside its distribution."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            found = kinds(d)
            return d.choices[found.index(found[round(x)])]  # Optuna keeps the first of equal ones
        assert isinstance(d, FloatDistribution | IntDistribution)
        if self.kind == "I":
            value = d.low + round(x) * (d.step or 1)
        else:
            place = self.origin + x * self.scale
            value = 10**place if d.log else place
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
        place = math.log10(internal) if d.log else internal
        return min(max((place - self.origin) / self.scale, self.low), self.high)

    @property
    def is_share(self) -> bool:
        """Whether the variable is a share of the parameter's range."""
        return (self.origin, self.scale) != (0.0, 1.0)


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
        return _real(distribution, math.log10(low), math.log10(high))
    if step is not None:
        return Variable(distribution, "I", 0.0, float(round((high - low) / step)))
    return _real(distribution, low, high)


def _real(distribution: BaseDistribution, low: float, high: float) -> Variable:
    if _NARROWEST <= high - low <= _WIDEST:
        return Variable(distribution, "R", low, high)
    width = high - low or 1.0  # of two neighbouring floats the logarithms can be the same
    return Variable(distribution, "R", 0.0, 1.0, origin=low, scale=width)


def name_of(variables: Mapping[str, Variable], params: Mapping[str, Any]) -> str | None:
    """A name that tells points apart, up to the rounding of a float; None outside the space."""
    names = []
    for parameter, found in variables.items():
        if parameter not in params:
            return None
        internal = internal_of(found.distribution, params[parameter])
        if internal is None:
            return None
        place = found.coordinate(params[parameter]) if found.is_share else internal + 0.0
        digits = 12 if isinstance(found.distribution, FloatDistribution) else 17
        names.append(f"{place:.{digits}g}")
    return " ".join(names)
