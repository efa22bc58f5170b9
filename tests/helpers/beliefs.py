"""Small beliefs for tests of the rules: exact, quick, and on purpose nothing like a good model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optuna_partition._core.axes import Axis
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Belief
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Box
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Theta
from optuna_partition._rules.source import Feature


GOLDEN = (5**0.5 - 1) / 2


def nearest(x: Array, y: Array, at: Array) -> tuple[Array, Array]:
    """The value of the nearest point known (the first of equals), and its distance."""
    distances = np.round(np.abs(at[:, None] - x[None]).sum(-1), 9)
    return y[distances.argmin(1)], distances.min(1)


@dataclass(frozen=True)
class Nearest:
    """Expects what was seen nearest by, the surer the nearer.

    Args:
        domain: The axes.
        doubt: Standard deviation per distance; infinite where it knows nothing.
    """

    domain: Domain
    doubt: float

    def fit(self, evidence: Evidence, theta: Theta | None) -> Known:
        return Known(self, evidence, (float(evidence.n_ended), (theta or (0, 0))[1] + 1))

    def condition(self, evidence: Evidence, theta: Theta) -> Known:
        return Known(self, evidence, theta)


@dataclass(frozen=True)
class Known:
    belief: Nearest
    evidence: Evidence
    theta: Theta

    def bounds(self, x: Array) -> tuple[Array, Array]:
        mean, distance = nearest(self.evidence.x, self.evidence.y, x)
        return mean, self.belief.doubt * distance

    def promising(self, box: Box) -> Array:
        """A few places of the box, the least promised value first."""
        low, high = box
        k = np.arange(1, 33)[:, None]
        spread = (k * GOLDEN ** (1 + np.arange(len(low)))) % 1
        places = low + (high - low) * np.concatenate([spread, np.full((1, len(low)), 0.5)])
        mean, deviation = self.bounds(places)
        return places[np.argsort(mean - deviation, kind="stable")]

    def worth_repeating(self, new: Array, *, stopped_only: bool) -> Array | None:
        """It believes what it is told."""
        return None


@dataclass(frozen=True)
class Nearests:
    """`Nearest` over any axes."""

    doubt: float = 4.0

    def __call__(self, axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
        return Nearest(Domain.of(axes), self.doubt)


@dataclass(frozen=True)
class Silent(Nearest):
    """Fits, and then cannot say anything."""

    def fit(self, evidence: Evidence, theta: Theta | None) -> Known:
        return Mute(self, evidence, (0.0, 0.0))

    def condition(self, evidence: Evidence, theta: Theta) -> Known:
        return Mute(self, evidence, theta)


class Mute(Known):
    def bounds(self, x: Array) -> tuple[Array, Array]:
        raise BeliefFailed("not a number")

    def promising(self, box: Box) -> Array:
        raise BeliefFailed("not a number")


def silent(axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
    return Silent(Domain.of(axes), 1.0)


class Broken:
    """A model that never comes to be."""

    def fit(self, evidence: Evidence, theta: Theta | None) -> Known:
        raise BeliefFailed("the matrix is not positive definite")

    condition = fit


def broken(axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
    return Broken()


class Insisting(Known):
    """Would rather know the best point better than any new one."""

    def worth_repeating(self, new: Array, *, stopped_only: bool) -> Array | None:
        known, early = self.evidence.measured, self.evidence.early
        if stopped_only and early is not None:
            known = ~known & np.isfinite(early.rest)
        elif stopped_only:
            return None
        at = self.evidence.x[known], self.evidence.y[known]
        return at[0][at[1].argmin()] if known.any() else None


@dataclass(frozen=True)
class Repeating(Nearest):
    """Wants a repeat whenever it may."""

    def fit(self, evidence: Evidence, theta: Theta | None) -> Known:
        return Insisting(self, evidence, super().fit(evidence, theta).theta)

    def condition(self, evidence: Evidence, theta: Theta) -> Known:
        return Insisting(self, evidence, theta)


def repeating(axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
    return Repeating(Domain.of(axes), 4.0)
