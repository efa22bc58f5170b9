"""Parameters and values as people read them on a plot: positions, ticks, bounds; draws nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
import html
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


__all__ = ["PlotAxis", "Scale", "number", "text"]

_HUGE = 1e100  # a value beyond this is drawn as an infinite one: plot arithmetic overflows on it
_MOST_TICKS = 12
_MOST_CATEGORIES = 30
_MOST_NAMED = 4  # categories named in a cell's bounds
_LONGEST = 24  # characters of a category's name


def number(value: float, digits: int = 4) -> str:
    """A number for a reader: `digits` significant digits, `2e-5` rather than `2e-05`."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    shown = f"{value:.{digits}g}"
    if "e" not in shown:
        return shown
    mantissa, exponent = shown.split("e")
    return f"{mantissa}e{int(exponent)}"


def text(value: Any) -> str:
    """A parameter's value or name for a reader of HTML."""
    if isinstance(value, float):
        return number(value)
    shown = str(value)
    return html.escape(shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…")


@dataclass(frozen=True)
class PlotAxis:
    """A parameter on an axis in its own units, logarithmic where the parameter is.

    Every value of an int, stepped or categorical parameter has a stretch of the axis around it,
    so that a cell with one value left has a width. Categories lie at 0, 1, ...

    Args:
        name: Of the parameter.
        distribution: Of the parameter.
    """

    name: str
    distribution: BaseDistribution

    @property
    def log(self) -> bool:
        return bool(getattr(self.distribution, "log", False))

    @property
    def count(self) -> int | None:
        """How many evenly spaced values there are; None if the axis is continuous or log."""
        if isinstance(self.distribution, CategoricalDistribution):
            return len(self.distribution.choices)
        low, high, step = self._range()
        return None if step is None or self.log else round((high - low) / step) + 1

    def at(self, share: float) -> float:
        """The place of a share of the axis as `inspection.cells` has it, 0..1."""
        low, high = self._ends()
        if self.log:
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return low + share * (high - low)

    def place(self, value: Any) -> float:
        """Where a parameter's value is drawn."""
        if isinstance(self.distribution, CategoricalDistribution):
            return float(self.distribution.to_internal_repr(value))
        return float(value)

    def bounds(self, low: float, high: float) -> str:
        """What lies between two shares, for a reader: an interval or the values in it."""
        if isinstance(self.distribution, CategoricalDistribution):
            return _names(self.distribution.choices[_index(low, self) : _index(high, self)])
        start, end = self._inside(low, high)
        if start == end:
            return number(start)
        digits = 4
        while digits < 17 and _apart(start, end, digits) < 3:
            digits += 1
        return f"{number(start, digits)} to {number(end, digits)}"

    def layout(self) -> dict[str, Any]:
        """Title, scale, range and ticks, for plotly."""
        low, high = self._ends()
        ends = [math.log10(low), math.log10(high)] if self.log else [low, high]
        look: dict[str, Any] = {"title": {"text": text(self.name)}, "range": ends}
        look |= {"type": "log" if self.log else "linear", "exponentformat": "power"}
        if self.log:
            decades = ends[1] - ends[0]
            look["dtick"] = math.ceil(decades / 8) if decades >= 2 else "D2"
        ticks = self._ticks()
        if ticks:
            look |= {"tickvals": [self.place(v) for v in ticks], "ticktext": _labels(ticks)}
        return look

    def _range(self) -> tuple[float, float, float | None]:
        d = self.distribution
        assert isinstance(d, FloatDistribution | IntDistribution), d
        return d.low, d.high, d.step

    def _ends(self) -> tuple[float, float]:
        if isinstance(self.distribution, CategoricalDistribution):
            return -0.5, len(self.distribution.choices) - 0.5
        low, high, step = self._range()
        half = 0.5 * (step or 0.0)
        return low - half, high + half

    def _inside(self, low: float, high: float) -> tuple[float, float]:
        """The least and the largest value between two shares."""
        first, last, step = self._range()
        if step is None:
            return self.at(low), self.at(high)
        start, end = self.at(low) + 0.5 * step, self.at(high) - 0.5 * step
        if isinstance(self.distribution, IntDistribution):
            return round(start), round(end)
        steps = (round((start - first) / step), round((end - first) / step))
        return first + steps[0] * step, min(first + steps[1] * step, last)

    def _ticks(self) -> Sequence[Any]:
        """The values to name; empty where plotly's own ticks do."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[:: math.ceil(len(d.choices) / _MOST_CATEGORIES)]
        low, high, step = self._range()
        if isinstance(d, IntDistribution) and d.log:
            powers = [2**k for k in range(64) if low <= 2**k <= high]
            return powers[:: math.ceil(len(powers) / _MOST_TICKS)] if len(powers) > 2 else []
        if self.count is not None and self.count <= _MOST_TICKS:
            assert step is not None
            values = [low + i * step for i in range(self.count)]
            return [float(f"{v:.10g}") if isinstance(v, float) else v for v in values]
        return []


def _index(share: float, axis: PlotAxis) -> int:
    return round(axis.at(share) + 0.5)


def _names(choices: Sequence[Any]) -> str:
    more = len(choices) - _MOST_NAMED
    shown = ", ".join(text(choice) for choice in choices[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _labels(values: Sequence[Any]) -> list[str]:
    return [text(value) for value in values]


def _apart(a: float, b: float, digits: int) -> float:
    """How many units of the last of `digits` digits two numbers differ by."""
    unit = 10.0 ** (math.floor(math.log10(max(abs(a), abs(b)))) + 1 - digits)
    return abs(b - a) / unit


@dataclass(frozen=True)
class Scale:
    """The values a figure shows, from the worst to the best.

    Colours go by rank: a search spends most of its trials near the best, and on a linear scale
    those would all have one colour. Rank also takes outliers and infinite values as they come.

    Args:
        values: The distinct ones, the best last.
        minimise: Whether smaller values are better.
    """

    values: Sequence[float]
    minimise: bool

    @classmethod
    def of(cls, values: Iterable[float], minimise: bool) -> Scale:
        return cls(sorted(set(values), reverse=minimise), minimise)

    @property
    def label(self) -> str:
        return f"value ({'lower' if self.minimise else 'higher'} is better)"

    def rank(self, value: float) -> float:
        """0 for the worst value, 1 for the best, evenly in between."""
        sign = -1.0 if self.minimise else 1.0
        worse = bisect_left(self.values, sign * value, key=lambda v: sign * v)
        return min(worse / (len(self.values) - 1), 1.0) if len(self.values) > 1 else 1.0

    def ticks(self) -> list[tuple[float, str]]:
        """A few ranks, with the values there."""
        last = len(self.values) - 1
        places = sorted({round(i * last / 6) for i in range(7)}) if self.values else []
        shown = [self.values[i] for i in places]
        digits = 4
        while digits < 8 and len({number(v, digits) for v in shown}) < len(shown):
            digits += 1
        return [(self.rank(v), number(v, digits)) for v in shown]

    def window(self) -> tuple[float, float]:
        """The lowest and the highest value that a linear axis shows.

        From the best to the worst that is not an outlier, so that one diverged trial does not
        flatten all others: what is worse than the upper quartile by three interquartile ranges
        lies at the edge.
        """
        sign = 1.0 if self.minimise else -1.0
        finite = np.array([sign * v for v in self.values if abs(v) < _HUGE])
        best, worst = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        if len(finite):
            lower, upper = np.quantile(finite, [0.25, 0.75])
            kept = finite[finite <= upper + 3.0 * (upper - lower)]
            worst = float(kept.max()) if upper > lower else worst
        if worst - best <= 1e-9 * abs(best):
            room = max(0.01 * abs(best), 1e-3)
            best, worst = best - room, worst + room
        low, high = sorted((sign * best, sign * worst))
        return low, high
