"""What is known before the first trial, as a model takes it; NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any
from typing import final
from typing import Protocol
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


__all__ = ["Earlier", "Feature", "Knowledge", "KnowledgeOf", "Prior", "Source", "starts"]

_BEST = 50  # points of each earlier study that may be where a search starts
_APART = 0.15  # of the diagonal of the cube: starts that are nearer to each other say the same


@final
@dataclass(frozen=True)
class Earlier:
    """The trials of an earlier study, in the coordinates of this one's cube.

    Coordinates may lie outside the cube, where that study's bounds were wider. A parameter that it
    had not lies in the middle.

    Args:
        x: Where they ended, by row; as tuples, so that a source is its own name in a cache.
        y: Their values, smaller being better.
    """

    x: tuple[tuple[float, ...], ...]
    y: tuple[float, ...]

    def best(self, most: int) -> list[tuple[float, ...]]:
        """Where its best trials ended, the best first."""
        return [self.x[i] for i in np.argsort(self.y, kind="stable")[:most]]

    def ranks(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of its trial that is nearest to each of some points, (n, D), from 0, its best, to 1."""
        x, order = np.array(self.x), np.argsort(self.y, kind="stable")
        ranks = np.empty(len(x))
        ranks[order] = np.linspace(0, 1, len(x))
        return np.array([ranks[np.linalg.norm(x - point, axis=1).argmin()] for point in points])


@final
@dataclass(frozen=True)
class Prior:
    """Where somebody expects the best.

    Args:
        centre: There, in the cube, (D,).
        spread: How far from it along each axis the best may well be, in sides of the cube, (D,);
            infinite where nothing is expected, and along axes of choices.
        costs: Of axes of choices, what each choice costs: by axis, by choice.
    """

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    costs: tuple[tuple[int, tuple[float, ...]], ...] = ()

    def on(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The centre, and x along the axes of which nothing is expected."""
        of_choices = [axis for axis, _ in self.costs]
        open_ = np.isinf(self.spread)
        open_[of_choices] = False
        return np.where(open_, x, self.centre)


Source: TypeAlias = Earlier | Prior
"""Something that expects more of some places than of others.

What it expects need not be what this study measures: how far the two agree is learnt.
"""


@final
@dataclass(frozen=True)
class Feature:
    """The logarithm of a product of powers of parameters, from 0 to 1 over the cube.

    Args:
        terms: Of each factor its axis, its power, what the parameter is at 0 and at 1, and whether
            it is its logarithm that is even in between.
    """

    terms: tuple[tuple[int, float, float, float, bool], ...]

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest logarithm."""
        ends = [
            sorted((power * math.log(low), power * math.log(high)))
            for _, power, low, high, _ in self.terms
        ]
        return sum(least for least, _ in ends), sum(most for _, most in ends)


@final
@dataclass(frozen=True)
class Knowledge:
    """What is known of a space before its first trial.

    Args:
        sources: What expects more of some places than of others.
        features: What the model sees beside the axes.
    """

    sources: tuple[Source, ...] = ()
    features: tuple[Feature, ...] = ()


class KnowledgeOf(Protocol):
    """What is known before the first trial, of any space."""

    def __call__(self, distributions: Mapping[str, Any]) -> Knowledge:
        """The same of one, given its distributions by name."""

    def best_guess(self, name: str, distribution: Any) -> float | None:
        """Where a parameter is expected to be best, in [0, 1]; None where nothing is known.

        Raises:
            ValueError: What is known of it cannot be.
        """


def starts(sources: Sequence[Source], most: int) -> NDArray[np.float64]:
    """Where the sources would start, no place near another: priors, then earlier studies; (k, D).

    A prior knows nothing of some axes; there it starts where the earlier studies would.
    """
    agreed = _agreed([source for source in sources if isinstance(source, Earlier)])
    priors = [source for source in sources if isinstance(source, Prior)]
    places = [each.on(agreed[0]) if agreed else np.array(each.centre) for each in priors]
    found: list[NDArray[np.float64]] = []
    for x in [*places, *agreed]:
        if all(np.linalg.norm(x - z) > _APART * np.sqrt(len(x)) for z in found):
            found.append(x)
    return np.array(found[:most])


def _agreed(studies: Sequence[Earlier]) -> list[NDArray[np.float64]]:
    """The best points of each study, by the mean of their ranks in all of them."""
    best = dict.fromkeys(x for study in studies for x in study.best(_BEST))
    points = np.array(list(best))
    ranks = np.mean([study.ranks(points) for study in studies], axis=0) if studies else points
    return [np.clip(points[i], 0, 1) for i in np.argsort(ranks, kind="stable")]
