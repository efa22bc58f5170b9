"""Points of a finite partition where nothing is left to search; reads trials, writes nothing.

A trial may have more parameters than the partition knows: then its point is searched again, with
other values of these, until they have had all of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import math

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core.cells import Point
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space


__all__ = ["beyond", "used_up"]


def beyond(trial: FrozenTrial, space: AnySpace) -> dict[str, BaseDistribution]:
    """What a trial has beyond its point in a space."""
    point = space.point(trial.params)
    known: Mapping[str, BaseDistribution] = (
        space.distributions if point is None else space.present(point)
    )
    return {n: d for n, d in trial.distributions.items() if n not in known and not d.single()}


def used_up(trials: Iterable[FrozenTrial], space: AnySpace) -> set[Point]:
    """Points whose trials have had all values of what they have beyond the space.

    Args:
        trials: That have ended.
        space: A finite one.
    """
    at: dict[Point, list[FrozenTrial]] = {}
    for trial in trials:
        point = space.point(trial.params)
        if point is not None:
            at.setdefault(point, []).append(trial)
    return {point for point, found in at.items() if _has_had_all(found, space)}


def _has_had_all(trials: list[FrozenTrial], space: AnySpace) -> bool:
    """Whether the trials of a point tell of everything there, and have had it."""
    whole = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not whole and len(trials) < 2:  # it may have ended before it came to more
        return False
    first, *others = (beyond(trial, space) for trial in whole or trials)
    if any(other != first for other in others):
        return False
    rest = Space(first)
    return len({rest.point(t.params) for t in trials} - {None}) == math.prod(
        axis.size() for axis in rest.axes
    )
