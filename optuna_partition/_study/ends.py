"""Where a study begins and where it ends: pure, from its trials and the space they lie in."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import copy
import math

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core.cells import Point
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space
from optuna_partition._space.values import is_single
from optuna_partition._study.fold.given_up import is_given_up
from optuna_partition._study.fold.readings import is_interrupted


__all__ = [
    "as_ended",
    "may_take_centre",
    "beyond",
    "has_one_point",
    "is_used_up",
    "unfailed",
    "used_up",
]


def may_take_centre(earlier: Sequence[FrozenTrial]) -> bool:
    """Whether no earlier trial has a parameter, so that the next may take the centre.

    One that runs and has no parameter yet will take it. One that was interrupted does not count,
    unless workers have died there too often.
    """
    begun = [t for t in earlier if t.params or t.state is TrialState.RUNNING]
    return all(map(is_interrupted, begun)) and not is_given_up(begun)


def has_one_point(trials: Sequence[FrozenTrial]) -> bool:
    """Whether trials suggest parameters, and each of these has a single value.

    Trials that suggest nothing say nothing of a space: there may be none, or more to come.
    """
    return any(trial.distributions for trial in trials) and all(
        is_single(d) for trial in trials for d in trial.distributions.values()
    )


def unfailed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that have come, or may still come, to all of their parameters."""
    return [trial for trial in trials if trial.state is not TrialState.FAIL]


# ---- finite partitions in which all points are taken ----


def is_used_up(trials: Sequence[FrozenTrial], space: AnySpace, n_points: float) -> bool:
    """Whether there is nothing more to the points of a space, all of which are taken.

    A trial may have more parameters than the partition knows: then its point is searched again,
    with other values of these, until they have had all of theirs.
    """
    if not any(beyond(trial, space) for trial in trials):
        return True
    ended = (trial for trial in trials if trial.state.is_finished())
    return len(used_up(ended, space)) == n_points


def as_ended(
    trials: Sequence[FrozenTrial], trial: FrozenTrial, state: TrialState
) -> list[FrozenTrial]:
    """All trials, with one that ends just now and runs yet in the storage."""
    ended = copy.copy(trial)
    ended.state = state
    return [ended if t.number == trial.number else t for t in trials]


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
        trials: To count; those in flight count as ended.
        space: A finite one.
    """
    at: dict[Point, list[FrozenTrial]] = {}
    wholes: set[frozenset[str]] = set()  # the parameters of complete trials
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            wholes.add(frozenset(trial.params))
        point = space.point(trial.params)
        if point is not None:
            at.setdefault(point, []).append(trial)
    return {point for point, found in at.items() if _has_had_all(found, space, wholes)}


def _has_had_all(
    trials: list[FrozenTrial], space: AnySpace, wholes: Container[frozenset[str]]
) -> bool:
    """Whether the trials of a point tell of everything there, and have had it."""
    whole = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    is_whole = len(trials) > 1 or frozenset(trials[0].params) in wholes
    if not whole and not is_whole:  # it may have ended before it came to more
        return False
    first, *others = (beyond(trial, space) for trial in whole or trials)
    if any(other != first for other in others):
        return False
    rest = Space(first)
    return len({rest.point(t.params) for t in trials} - {None}) == math.prod(
        axis.size() for axis in rest.axes
    )
