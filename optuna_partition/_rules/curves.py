"""What a curve says of its end before it is there: a regression from each step to the next.

Notation (Little and Rubin 2019, section 7.4: monotone missing data; Anderson 1957):

==========  =====================================================================================
curve       what a trial reports, by step, and the value it ends with
``y_j``     its level at the j-th step of a grid, the logarithm of its distance from the best value
            of all; the last is that of its end
``v_j``     y_(j-1) - y_j: how far it has just come down
regression  y_(j+1) = y_j + a + b (y_j - mean) + c (v_j - mean) + e(x), for each j
``e(x)``    a Gaussian process over the parameters, and noise of each curve's own: universal
            kriging (Rasmussen and Williams 2006, section 2.7)
``R``       the correlation of e between curves: ``share`` of it is noise of their own
forecast    of y at the end, from where a curve stands: the regressions one after the other
==========  =====================================================================================

Whether a curve was stopped depends on what it had reported. So its end is missing at random, and
the regressions of all curves that have come so far are the maximum of the likelihood: what is
learnt of the first steps is learnt from the stopped ones, too. Bias and noise of an early value
are a, b and the variance of e; each shrinks as the end comes near.

Curves of similar parameters err alike: a small learning rate is behind at first in all of them.
That is why e depends on x, and why forecasts have covariances.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import dataclass
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import thinned
from optuna_partition._threads import one_thread


__all__ = ["Curve", "Curves", "Forecasts"]

_MOST_STEPS = 16  # of a grid
_MOST_CURVES = 100  # a regression is learnt from
_DRIFT = 0.3  # prior deviation of b and c: 0 is that a curve keeps its distance from another
_RESIDUAL, _TOLD = 0.1, 4.0  # prior deviation of e in those of y, and how many curves it is worth
_KINDS = ((1.0, 1.0), (0.3, 0.5), (0.3, 1.5), (0.05, 0.5), (0.05, 1.5))
"""Share of own noise and length of correlation in the unit cube: the likeliest is taken."""
_FLAT = 1e-6  # prior precision of a, beside curves that are worth 1 each
_ROUNDING = 1e-9  # of levels: no difference
_DEEPEST = 10.0  # below the best end, in distances of the usual value from it
_HIGHEST = 2.0  # level above the usual one of its step: seven times as far from the best
_STRAY = 5.0  # robust deviations: what goes up by more has diverged, and says nothing of others
_FARTHEST = 300.0  # level; its exponential is finite, also times a unit of 1e100
_BOTH = np.array([0, 1])  # y and v
_NORMAL = NormalDist()
_QUANTILES = np.array([_NORMAL.inv_cdf((i + 0.5) / 64) for i in range(64)])


@dataclass(frozen=True)
class Curve:
    """What a trial has reported, smaller being better.

    Args:
        x: Its parameters, in the unit cube, (D,).
        steps: Ascending, (k,).
        values: At these, finite, (k,).
        end: The value it ended with; None while it runs and where it was stopped.
    """

    x: Array
    steps: Array
    values: Array
    end: float | None = None

    def at(self, steps: Array) -> Array:
        """Its values at some steps, (n,); NaN where there is none yet.

        Between reports it is a straight line. After its end it stays what it was.
        """
        after = math.nan if self.end is None else self.end
        found: Array = np.interp(steps, self.steps, self.values, math.nan, after)
        return found


@dataclass(frozen=True)
class Forecasts:
    """The ends of m curves as they are expected: Student's distribution of their levels.

    Args:
        levels: Its centre, (m,).
        doubt: Its scale, squared, (m, m).
        freedom: Its degrees of freedom, the fewest that any curve's has.
        scale: Of levels.
    """

    levels: Array
    doubt: Array
    freedom: float
    scale: _Scale

    @property
    def medians(self) -> Array:
        """As values, (m,)."""
        return self.scale.value(self.levels)

    @property
    def correlation(self) -> Array:
        """Of their errors, (m, m)."""
        deviations = np.sqrt(np.diag(self.doubt))
        found: Array = self.doubt / deviations / deviations[:, None]
        return found

    def drawn_in(self, most: float) -> tuple[Array, Array]:
        """Medians and deviations of the ends as values, (m,) each, none counted above `most`.

        A level in doubt may be a value of any size, but none that is far below the best.
        """
        deviations = np.sqrt(np.diag(self.doubt))
        values = self.scale.value(self.levels[:, None] + deviations[:, None] * _QUANTILES)
        return np.minimum(self.medians, most), np.minimum(values, most).std(axis=1)

    def chance_below(self, value: float) -> float:
        """How likely the first end is at most a value (Abramowitz and Stegun 1964, 26.7.8)."""
        gap = float(self.scale.level(np.array(value)) - self.levels[0])
        t, n = gap / math.sqrt(self.doubt[0, 0]), self.freedom
        return _NORMAL.cdf(t * (1 - 1 / (4 * n)) / math.sqrt(1 + t * t / (2 * n)))


@dataclass(frozen=True)
class _Scale:
    """Values as levels: equal ratios of the distance from the best value are equal steps."""

    best: float
    unit: float

    @classmethod
    def of(cls, ends: Array, reported: Array) -> _Scale:
        """By the ends, as far as they differ.

        A report far below every end is no best value: beside it all the others would be the same.
        """
        least = ends.min()
        usual = max(np.median(ends), np.nanmedian(reported)) - least
        lowest = least - _DEEPEST * usual if usual > 0 else -math.inf
        best = min(least, reported[reported >= lowest].min(initial=least))
        gaps = (np.median(ends) - best, np.nanmedian(reported) - best, 1.0)
        return cls(float(best), float(next(gap for gap in gaps if gap > 0)))

    def level(self, values: Array) -> Array:
        gaps: Array = np.maximum(values - self.best, -self.unit / 2) / self.unit
        levels: Array = np.log1p(gaps)
        return levels

    def value(self, levels: Array) -> Array:
        values: Array = self.best + self.unit * np.expm1(np.minimum(levels, _FARTHEST))
        return values


@dataclass(frozen=True)
class _Kind:
    """What the residuals are like: see `_KINDS`."""

    share: float
    length: float

    def correlation(self, a: Array, b: Array) -> Array:
        """Between two sets of curves, without their own noise (Matern 5/2), (n, m)."""
        d = math.sqrt(5) * np.linalg.norm(a[:, None] - b, axis=-1) / self.length
        found: Array = (1 - self.share) * (1 + d + d**2 / 3) * np.exp(-d)
        return found

    def own(self, n: int) -> Array:
        """What is added where a curve meets itself, (n, n)."""
        return self.share * np.eye(n)


@dataclass(frozen=True)
class _Regression:
    """From one step to the next, a normal-inverse-gamma posterior (Gelman et al. 2013, 14.8).

    Args:
        kind: Of the residuals.
        x: Of the curves it is learnt from, (n, D).
        centre: Means of y and v, (2,).
        root: The inverse of the Cholesky factor of R, (n, n).
        design: What slopes are multiplied with, times the root, (n, 3).
        slopes: a, b and c, (3,).
        shape: Covariance of these in units of the residuals' variance, (3, 3).
        left: What they leave, times the root, (n,).
        variance: Of the residuals.
        freedom: Degrees of freedom of that.
        evidence: Logarithm of how likely the kind is, up to what all kinds share.
    """

    kind: _Kind
    x: Array
    centre: Array
    root: Array
    design: Array
    slopes: Array
    shape: Array
    left: Array
    variance: float
    freedom: float
    evidence: float

    @classmethod
    def of(cls, kind: _Kind, x: Array, before: Array, now: Array, then: Array) -> _Regression:
        """Of the levels at three steps in a row, (n,) each; NaN where a curve has none."""
        rows = np.isfinite(now) & np.isfinite(then)
        x, y, v, dy = x[rows], now[rows], (before - now)[rows], (then - now)[rows]
        v = np.where(np.isfinite(v), v, np.nanmean(v) if np.isfinite(v).any() else 0.0)
        centre = np.array([y.mean(), v.mean()]) if len(y) else np.zeros(2)
        spread = float(then[rows].std()) if len(y) else 0.0
        prior = (_RESIDUAL * (spread if spread > _ROUNDING else 1.0)) ** 2
        dy = _without_strays(dy, math.sqrt(prior))
        root = np.linalg.inv(np.linalg.cholesky(kind.correlation(x, x) + kind.own(len(x))))
        design = root @ np.column_stack([np.ones(len(y)), y - centre[0], v - centre[1]])
        precision = np.diag([_FLAT, prior / _DRIFT**2, prior / _DRIFT**2])
        shape = np.linalg.inv(design.T @ design + precision)
        slopes = shape @ (design.T @ (root @ dy))
        left = root @ dy - design @ slopes
        freedom = _TOLD + max(len(y) - len(slopes), 0)
        error = float(left @ left + slopes @ precision @ slopes) + _TOLD * prior
        volume = float(np.log(np.diag(root)).sum() + np.linalg.slogdet(shape)[1] / 2)
        evidence = volume - (_TOLD + len(y)) / 2 * math.log(error)
        return cls(
            kind, x, centre, root, design, slopes, shape, left, error / freedom, freedom, evidence
        )

    def ahead(self, x: Array, state: Array, doubt: Array) -> tuple[Array, Array]:
        """Means (y, v) of some curves, (2, m), and their covariances, (2, 2, m, m), a step on."""
        known = self.root @ self.kind.correlation(self.x, x)
        told = np.vstack([np.ones(len(x)), state - self.centre[:, None]])
        change = self.slopes @ told + self.left @ known
        unsure = told - self.design.T @ known
        fresh = self.kind.correlation(x, x) + self.kind.own(len(x))
        fresh = self.variance * (fresh - known.T @ known + unsure.T @ self.shape @ unsure)
        _, b, c = self.slopes
        moves, signs = np.array([[1 + b, c], [-b, -c]]), np.array([[1.0, -1.0], [-1.0, 1.0]])
        doubt = np.einsum("ab,bcij,dc->adij", moves, doubt, moves)
        return np.stack([state[0] + change, -change]), doubt + signs[..., None, None] * fresh


def _without_strays(dy: Array, least: float) -> Array:
    """Changes of level, those that rise far more than usual drawn in.

    A curve that diverges would otherwise put all others in doubt. Those that fall far stay: who
    stops a trial has to know of them.

    Args:
        dy: The changes, (n,).
        least: A deviation that is usual.
    """
    if not len(dy):
        return dy
    usual = np.median(dy)
    deviation = np.median(np.abs(dy - usual)) / _NORMAL.inv_cdf(0.75)
    found: Array = np.minimum(dy, usual + _STRAY * max(deviation, least))
    return found


@dataclass(frozen=True)
class Curves:
    """All curves of a study.

    Args:
        grid: Steps, ascending, (g,).
        scale: Of levels.
        highest: Levels at each step and at the end above which all are the same, (g + 1,).
        regressions: From each step to the next, the last to the end.
    """

    grid: Array
    scale: _Scale
    highest: Array
    regressions: tuple[_Regression, ...]

    @classmethod
    @one_thread()
    def of(cls, curves: Sequence[Curve], steps: Collection[float] = ()) -> Curves | None:
        """What is learnt of them; None where no curve has come to its end.

        Args:
            curves: Of a study; each has reported something.
            steps: Those that the grid is to have, whatever else it has.
        """
        ends = np.array([math.nan if c.end is None else c.end for c in curves])
        if not np.isfinite(ends).any():
            return None
        grid = _grid(curves, steps)
        values = np.column_stack([[curve.at(grid) for curve in curves], ends])
        scale = _Scale.of(ends[np.isfinite(ends)], values)
        kept = _telling(values)
        x, levels = np.array([curves[i].x for i in kept]), scale.level(values[kept])
        highest = np.nanmedian(scale.level(values), axis=0) + _HIGHEST
        levels = np.minimum(levels, highest)
        before = np.column_stack([np.full(len(kept), math.nan), levels])
        columns = (before[:, :-2].T, before[:, 1:-1].T, before[:, 2:].T)
        kinds = (
            tuple(_Regression.of(_Kind(*kind), x, *of) for of in zip(*columns, strict=True))
            for kind in _KINDS
        )
        likeliest = max(kinds, key=lambda each: sum(r.evidence for r in each))
        return cls(grid, scale, highest, likeliest)

    @one_thread()
    def ends(self, curves: Sequence[Curve]) -> Forecasts:
        """The ends of some curves, all at once, since they err alike."""
        x, m = np.array([curve.x for curve in curves]), len(curves)
        levels = self.scale.level(np.array([self._known(curve) for curve in curves]))
        levels = np.minimum(levels, self.highest[:-1])
        last = levels.shape[1] - 1 - np.isfinite(levels)[:, ::-1].argmax(axis=1)
        state, doubt, freedom = np.zeros((2, m)), np.zeros((2, 2, m, m)), math.inf
        for j, regression in enumerate(self.regressions):
            _enter(state, levels, np.flatnonzero(last == j), j, regression.centre[1])
            on = np.flatnonzero(last <= j)
            if len(on):
                among = np.ix_(_BOTH, _BOTH, on, on)
                state[:, on], doubt[among] = regression.ahead(x[on], state[:, on], doubt[among])
                freedom = min(freedom, regression.freedom)
        return Forecasts(state[0], doubt[0, 0], freedom, self.scale)

    def _known(self, curve: Curve) -> Array:
        """A curve on the grid, (g,); between two of its steps it stands at the one before."""
        found = curve.at(self.grid)
        if np.isnan(found).all():
            before = np.searchsorted(self.grid, curve.steps[-1], side="right") - 1
            found[max(int(before), 0)] = curve.values[-1]
        return found


def _enter(state: Array, levels: Array, rows: NDArray[np.intp], j: int, usual: float) -> None:
    """Has curves begin at the step that is their last: with what they have just come down."""
    came = levels[rows, j - 1] - levels[rows, j] if j else np.full(len(rows), math.nan)
    state[0, rows] = levels[rows, j]
    state[1, rows] = np.where(np.isfinite(came), came, usual)


def _grid(curves: Sequence[Curve], steps: Collection[float]) -> Array:
    """The steps of all curves, or as many of them as there is room for, evenly."""
    known = np.unique(np.concatenate([curve.steps for curve in curves]))
    places = np.linspace(0, len(known) - 1, min(len(known), _MOST_STEPS)).round().astype(int)
    grid: Array = np.union1d(known[places], np.array([*steps], dtype=np.float64))
    return grid


def _telling(values: Array) -> NDArray[np.intp]:
    """The curves that are learnt from: of many the lowest, and every so many of the others."""
    lowest = np.fmin.reduce(values, axis=1)
    return thinned(np.argsort(lowest, kind="stable"), _MOST_CURVES)
