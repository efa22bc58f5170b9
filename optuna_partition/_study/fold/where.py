"""Where a trial lies: where it was asked to, unless its parameters say otherwise.

Reads that trial and the space alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core.cells import Point
from optuna_partition._space.early import provisional_params
from optuna_partition._space.space import AnySpace
from optuna_partition._study.attributes import Ask
from optuna_partition._study.attributes import Completion
from optuna_partition._study.optuna import enqueued


__all__ = ["Asked", "asked_point", "is_elsewhere", "names_all", "point_of"]


@dataclass(frozen=True)
class Asked:
    """What a trial was asked for, as one history reads it.

    Args:
        ask: What the trial carries.
        point: Where it was to lie; None where its space is another one.
        fits: Whether the log of the ask is of this history's tree.
    """

    ask: Ask
    point: Point | None
    fits: bool


def asked_point(space: AnySpace, trial: FrozenTrial, ask: Ask) -> Point | None:
    """The point of an ask, whatever its rule, and of what its branch turned out to have.

    None where its space is another one.
    """
    point = space.point_of(ask.named)
    if point is None or names_all(space, ask, point):
        return point
    more = {name: x for name, x in trial.params.items() if name not in ask.axes}
    return space.point({**space.params(point), **more}) or point


def names_all(space: AnySpace, ask: Ask, point: Point) -> bool:
    """Whether all that there is at its point was known when it was asked for."""
    return space.present(point).keys() <= {*ask.axes}


def point_of(
    space: AnySpace, trial: FrozenTrial, asked: Asked | None, *, inferred: bool
) -> Point | None:
    """Where a trial lies, as far as that is known.

    Its objective may end before it has suggested all its parameters. Of another tree, one that is
    complete has suggested all there are in its branch. A claim that was not confirmed is not its
    own.

    Args:
        space: The space.
        trial: The trial.
        asked: What it was asked for; None where no partition sampler asked.
        inferred: Whether it may have begun before the space was known.
    """
    if asked is not None and asked.point is not None:
        may_lack = asked.fits or trial.state is not TrialState.COMPLETE
        partly = may_lack and not asked.ask.announced
        if not trial.state.is_finished():
            return asked.point
        if space.at(asked.point, trial.params, partly=partly):
            return asked.point
    if trial.state.is_finished():
        return space.point(trial.params)
    return _to_come(space, trial, inferred=inferred)


def _to_come(space: AnySpace, trial: FrozenTrial, *, inferred: bool) -> Point | None:
    """Where a trial will lie that nobody asked a cell for, if that is known."""
    completed = Completion.of(trial)
    if completed is not None:
        point = space.whole(completed.space, completed.point)
        if point is not None:
            return point
    guessed = provisional_params(trial, space.distributions) if inferred else {}
    return space.point({**guessed, **enqueued(trial), **trial.params})


def is_elsewhere(space: AnySpace, trial: FrozenTrial, point: Point) -> bool:
    """Whether the objective could not take its point: it suggests another range, for one."""
    return not space.at(point, trial.params, partly=True)
