"""Parameters and values on plot axes: positions, ticks, limits, numbers as text; draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


__all__ = ["Window", "holds", "is_log", "limits", "number", "position", "seconds", "ticks", "unit"]
__all__ += ["value", "value_window"]

# A value beyond this is drawn as an infinite one: Matplotlib's arithmetic overflows on it.
HUGE = 1e100
MOST_TICKS = 6
LONGEST_LABEL = 14  # of a tick


def number(value: Any, digits: int = 4) -> str:
    """A number for a reader: `digits` significant digits, `2e-5` rather than `2e-05`."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def value(found: float) -> str:
    """A trial's value: five significant digits, of which zeros stay, as values are compared."""
    plain = 1e-3 <= abs(found) < 1e5
    return f"{found:#.5g}" if plain else number(float(found), digits=5)


def seconds(duration: float) -> str:
    """A duration in seconds for a reader: `42 s`, `3 min 5 s`, `2 h 7 min`."""
    if duration < 60:
        return f"{duration:.1f} s" if duration < 10 else f"{duration:.0f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def is_log(distribution: BaseDistribution) -> bool:
    """Whether the parameter is searched, and so drawn, on a log scale."""
    return bool(getattr(distribution, "log", False))


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether `value` lies in the range, on its grid or not (enqueued trials may lie outside)."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    low, high = _bounds(distribution)
    return isinstance(value, int | float) and low <= value <= high


def position(distribution: BaseDistribution, value: Any) -> float:
    """Where `value` is drawn on the parameter's axis: a category at its index."""
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.choices.index(value))
    return float(value)


def limits(distribution: BaseDistribution) -> tuple[float, float]:
    """The ends of the parameter's axis, a little beyond the range; never equal."""
    if isinstance(distribution, CategoricalDistribution):
        return -0.5, len(distribution.choices) - 0.5
    low, high = _bounds(distribution)
    if is_log(distribution):
        factor = (high / low) ** 0.05 if high > low else 2.0
        return low / factor, high * factor
    pad = 0.05 * (high - low) if high > low else max(abs(low), 1.0) / 2
    return low - pad, high + pad


def unit(distribution: BaseDistribution, value: Any) -> float:
    """`value` as a share of the range, 0..1, on the parameter's own scale.

    Every value of an int or a categorical parameter has a part of the axis around it, so that
    cells between two values have room.
    """
    if isinstance(distribution, CategoricalDistribution):
        return (position(distribution, value) + 0.5) / len(distribution.choices)
    low, high = _bounds(distribution)
    half = 0.5 * distribution.step if isinstance(distribution, IntDistribution) else 0.0
    ends = (low - half, value, high + half)
    low, x, high = (math.log(e) for e in ends) if is_log(distribution) else ends
    return (x - low) / (high - low) if high > low else 0.5


def ticks(distribution: BaseDistribution) -> list[tuple[Any, str]]:
    """(value, label) of the ticks of the parameter's axis: a few round values of the range."""
    if isinstance(distribution, CategoricalDistribution):
        values: Sequence[Any] = _thinned(distribution.choices)
    elif is_log(distribution):
        values = _log_ticks(distribution)
    else:
        values = _linear_ticks(distribution)
    return [(value, _clipped(number(value))) for value in values]


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _thinned(values: Sequence[Any]) -> list[Any]:
    return list(values[:: math.ceil(len(values) / MOST_TICKS)]) if values else []


def _log_ticks(distribution: BaseDistribution) -> list[Any]:
    """Powers of two for integers, of ten for wide ranges, 1-2-5 steps or round numbers else."""
    low, high = _bounds(distribution)
    if isinstance(distribution, IntDistribution):
        powers: list[Any] = [2**k for k in range(64) if low <= 2**k <= high]
    else:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1.0,) if high / low >= 1e2 else (1.0, 2.0, 5.0)
        tens = [float(f"{step}e{k}") for k in decades for step in steps]
        powers = [ten for ten in tens if low <= ten <= high]
    return _thinned(powers) if len(powers) > 1 else _linear_ticks(distribution)


def _linear_ticks(distribution: BaseDistribution) -> list[Any]:
    from matplotlib.ticker import MaxNLocator  # only a report needs it, and a worker writes none

    low, high = _bounds(distribution)
    whole = isinstance(distribution, IntDistribution)
    if high == low:
        return [int(low) if whole else low]
    found = MaxNLocator(nbins=4, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)
    rounded = dict.fromkeys(_on_grid(distribution, float(f"{tick:.10g}")) for tick in found)
    inside = [tick for tick in rounded if low <= tick <= high]
    return [int(tick) for tick in inside or [low]] if whole else inside or [low]


def _on_grid(distribution: BaseDistribution, value: float) -> float:
    """The nearest value that the parameter can take: a partition has no place for others."""
    step = getattr(distribution, "step", None)
    if step is None:
        return value
    low, _ = _bounds(distribution)
    return float(f"{low + step * round((value - low) / step):.10g}")


def _bounds(distribution: BaseDistribution) -> tuple[float, float]:
    assert isinstance(distribution, FloatDistribution | IntDistribution), distribution
    return distribution.low, distribution.high


@dataclass(frozen=True)
class Window:
    """The range of values that figures show.

    Attributes:
        low: Smallest value shown.
        high: Largest value shown.
        edge: A little beyond the worse end: where worse values and failures are drawn.
    """

    low: float
    high: float
    edge: float

    def shows(self, value: float) -> bool:
        return self.low <= value <= self.high

    def clip(self, value: float) -> float:
        """`value`, or the edge when it is not shown."""
        return value if self.shows(value) else self.edge

    def padded(self) -> tuple[float, float]:
        """Limits for an axis: room for the markers at both ends."""
        pad = 0.06 * (self.high - self.low)
        return min(self.low, self.edge) - pad, max(self.high, self.edge) + pad


def value_window(values: Sequence[float], minimise: bool) -> Window:
    """From the best value to the worst that is not an outlier.

    One diverged trial must not flatten all others into a line, so what is worse than the upper
    quartile by three interquartile ranges is left to the edge.
    """
    sign = 1.0 if minimise else -1.0
    finite = np.array([sign * v for v in values if abs(v) < HUGE])  # nan < HUGE is False
    best, worst = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if len(finite):
        lower, upper = np.quantile(finite, [0.25, 0.75])
        fence = upper + 3.0 * (upper - lower)
        worst = float(finite[finite <= fence].max()) if upper > lower else worst
    if worst - best <= 1e-9 * abs(best):
        room = max(0.01 * abs(best), 1e-3)
        best, worst = best - room, worst + room
    low, high = sorted((sign * best, sign * worst))
    return Window(low, high, sign * (worst + 0.07 * (worst - best)))
