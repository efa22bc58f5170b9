"""What a rule asks of a model, and what it tells it; NumPy only, so that rules need no torch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from typing import Protocol
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Grid
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import centre
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.repeats import is_noisy
from optuna_partition._rules.source import Feature
from optuna_partition._rules.source import Source


__all__ = [
    "AS_GOOD_AS_INFINITE",
    "Array",
    "Belief",
    "BeliefFailed",
    "Beliefs",
    "Box",
    "CandidatesFunc",
    "Domain",
    "Early",
    "Evidence",
    "FEWEST_VALUES",
    "Fit",
    "MOST_VALUES",
    "Posterior",
    "Theta",
    "Unfitted",
    "box",
    "centres",
    "ranking",
    "renewed",
    "thinned",
    "units",
    "winsorised",
]

Array: TypeAlias = NDArray[np.float64]
Box: TypeAlias = tuple[Array, Array]
"""Lowest and highest corner, (D,) each, in the unit cube."""
Theta: TypeAlias = tuple[float, ...]
"""The hyperparameters of a model, as it lists them."""

MOST_VALUES = 300
"""Values a model sees at most."""

AS_GOOD_AS_INFINITE = 1e100  # its square would be
FEWEST_VALUES = 2
_MOST_STEPS = 1024  # a longer grid is as good as real


@dataclass(frozen=True)
class Domain:
    """The unit cube as a model sees it.

    Args:
        steps: Per axis the coordinates there are, in ascending order; None on a real axis.
        categorical: The axes without order.
        features: What is seen beside the axes.
    """

    steps: tuple[Array | None, ...]
    categorical: tuple[int, ...]
    features: tuple[Feature, ...] = ()

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Domain:
        """The domain of a space's axes."""
        unordered = (i for i, a in enumerate(axes) if isinstance(a, Grid) and not a.ordered)
        return cls(tuple(_steps(axis) for axis in axes), tuple(unordered), features)

    @property
    def real(self) -> list[int]:
        """The axes that are not grids."""
        return [i for i, steps in enumerate(self.steps) if steps is None]


def _steps(axis: Axis) -> Array | None:
    first, last = axis.whole()
    if isinstance(axis, Continuous) or last - first >= _MOST_STEPS:
        return None
    return np.array([axis.unit(x) for x in range(first, last + 1)])


@dataclass(frozen=True)
class Early:
    """What of some evidence is forecast, because its trials have not come to their end.

    Args:
        errors: Deviations of the forecasts, (n,); 0 where values were measured.
        correlation: Of these errors, (n, n); 0 where values were measured.
        rest: Share of an evaluation that would measure it, (n,): 1 where it was measured, and inf
            where a trial is on its way there.
    """

    errors: Array
    correlation: Array
    rest: Array

    def of(self, rows: NDArray[np.intp]) -> Early:
        """Of some rows."""
        return Early(self.errors[rows], self.correlation[np.ix_(rows, rows)], self.rest[rows])


@dataclass(frozen=True)
class Evidence:
    """What trials say, smaller values being better.

    Args:
        x: Points with a value, measured or forecast, (n, D).
        y: The values, (n,); +-inf allowed.
        pending: Where trials run, (p, D).
        n_ended: How many trials have ended, with or without a value, seen here or thinned out.
        distance: What rows are ranked by before their values, (n,). Of the objective it is how
            much a point violates constraints, 0 where it is feasible, and None where all are. Of a
            constraint it is how far its value is from 0.
        constraints: What is known of each constraint; its value is at most 0 where it is met.
        is_failure: Whether this is the constraint "ends well": a trial that violates it has no
            value.
        early: What of it is forecast; None where all values are measured.
        sources: What earlier studies say.
    """

    x: Array
    y: Array
    pending: Array
    n_ended: int
    distance: Array | None = None
    constraints: tuple[Evidence, ...] = ()
    is_failure: bool = False
    early: Early | None = None
    sources: tuple[Source, ...] = ()

    @property
    def ranking(self) -> NDArray[np.intp]:
        """The rows, the best first."""
        return ranking(self.y, self.distance)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which rows of the objective violate no constraint, (n,)."""
        return np.ones(len(self.y), bool) if self.distance is None else self.distance == 0

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which rows are no forecast, (n,)."""
        early = self.early
        return np.ones(len(self.y), bool) if early is None else np.diag(early.correlation) == 0

    @property
    def is_noiseless(self) -> bool:
        """Whether points that were evaluated twice show that there is no noise."""
        at: dict[bytes, list[float]] = {}
        for x, y in zip(self.x[self.measured], self.y[self.measured].tolist(), strict=True):
            at.setdefault(x.tobytes(), []).append(y)
        return not self.is_failure and is_noisy(list(at.values())) is False

    @classmethod
    def of(cls, tree: Tree) -> Evidence:
        """What a tree knows, thinned out if it is much.

        Where a trial failed or is infeasible, the model sees the worst value known: it is to look
        elsewhere.
        """
        known, flying = tree.known(), tree.points(Reading.FLYING)
        if known:
            worst = max(value for _, value in known)
            bad = tree.points(Reading.FAILED, Reading.INFEASIBLE)
            known += [(point, worst) for point in bad]
        y = np.array([value for _, value in known])
        kept = thinned(ranking(y), MOST_VALUES)
        x = units(tree.axes, [known[i][0] for i in kept])
        return cls(x, y[kept], units(tree.axes, flying), len(known))


def ranking(y: Array, distance: Array | None = None) -> NDArray[np.intp]:
    """The rows of evidence, the best first."""
    return np.argsort(y, kind="stable") if distance is None else np.lexsort((y, distance))


def thinned(ranking: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Which values a model sees, in their order: the best, and every so many of the others.

    So the time of an ask levels off, whatever the length of the study.
    """
    if len(ranking) <= most:
        return np.arange(len(ranking))
    half = most // 2
    others = np.sort(ranking[half:])
    spread = others[np.linspace(0, len(others) - 1, half).astype(int)]
    return np.sort(np.concatenate([ranking[:half], spread]))


def units(axes: Sequence[Axis], points: Iterable[Point]) -> Array:
    """Points in the unit cube, (k, D)."""
    rows = [[a.unit(x) for a, x in zip(axes, point, strict=True)] for point in points]
    return np.array(rows, dtype=np.float64).reshape(-1, len(axes))


def centres(axes: Sequence[Axis], cells: Iterable[Cell]) -> Array:
    """The centres of cells in the unit cube, (k, D)."""
    return units(axes, (centre(axes, cell) for cell in cells))


def box(axes: Sequence[Axis], cell: Cell) -> Box:
    """The corners of a cell in the unit cube."""
    ends = np.array([a.ends(interval) for a, interval in zip(axes, cell, strict=True)])
    return ends[:, 0], ends[:, 1]


class BeliefFailed(Exception):
    """A model that cannot be fitted to the evidence; a rule goes on without it."""


class Unfitted(BeliefFailed):
    """Of hyperparameters that are of other models than the evidence asks for."""


class Posterior(Protocol):
    """A model that has seen the evidence."""

    @property
    def theta(self) -> Theta:
        """Its hyperparameters."""

    def bounds(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function at x (k, D), in units of the values."""

    def promising(self, box: Box) -> Array:
        """Points of a box worth an evaluation, (k, D), the best first."""

    def worth_repeating(self, new: Array, *, stopped_only: bool) -> Array | None:
        """An evaluated point whose repeat is worth more than a new one (D,), if any is.

        Args:
            new: The new one, (D,).
            stopped_only: Whether only points may be taken up whose evaluation was stopped.
        """


@dataclass(frozen=True, slots=True, order=True)
class Fit:
    """What the last fit found; the later of two is the greater.

    Args:
        n_ended: How many trials had ended when it was made, 0 before any fit.
        theta: The hyperparameters.
    """

    n_ended: int
    theta: Theta

    def is_due(self, n_ended: int) -> bool:
        """Whether there is enough news for another fit: the n-th costs as much as n^3."""
        return self.n_ended == 0 or n_ended >= self.n_ended + max(5, self.n_ended // 10)


class Belief(Protocol):
    """A model, as a value: no state but its settings.

    Both raise `BeliefFailed` where the evidence allows no model.
    """

    def fit(self, evidence: Evidence, theta: Theta | None) -> Posterior:
        """Fits hyperparameters, from `theta` on if given."""

    def condition(self, evidence: Evidence, theta: Theta) -> Posterior:
        """Takes the hyperparameters as given."""


CandidatesFunc: TypeAlias = Callable[[Any, Any, Any, Any, Any], Any]
"""(train_x, train_obj, train_con, bounds, pending_x) -> candidate, tensors all."""


class Beliefs(Protocol):
    """The model over the axes of a space."""

    def __call__(self, axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
        """Which sees the features beside the axes."""


def renewed(belief: Belief, evidence: Evidence, fit: Fit) -> tuple[Posterior | None, Fit]:
    """The belief given the evidence, None if there is too little; and the fit it rests on.

    A fit starts from the one before and is made when it is due; in between, the hyperparameters
    are those that the study's trials carry, so that all workers share one fit.
    """
    n = evidence.n_ended
    if len(evidence.y) < FEWEST_VALUES:
        return None, fit
    try:
        if not fit.is_due(n):
            with suppress(Unfitted):
                return belief.condition(evidence, fit.theta), fit
        posterior = belief.fit(evidence, fit.theta or None)
        return posterior, Fit(n, posterior.theta)
    except BeliefFailed:
        return None, fit


def winsorised(y: Array) -> Array:
    """Values with those much worse than usual drawn in to median + 2 (median - best).

    One diverged trial would otherwise flatten the model everywhere else. Infinite values, and
    those whose square would be, take the ends of the others.
    """
    y = np.where(np.abs(y) < AS_GOOD_AS_INFINITE, y, np.copysign(np.inf, y))
    finite = y[np.isfinite(y)]
    if finite.size == 0:
        return np.zeros_like(y)
    best, median = finite.min(), float(np.median(finite))
    y = np.clip(np.nan_to_num(y, posinf=finite.max(), neginf=best), best, finite.max())
    spread = median - best
    return np.minimum(y, median + 2 * spread) if spread > 0 else y
