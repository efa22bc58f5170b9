"""Where the first trials go, and those that what is known beforehand speaks of; claims nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_partition._core import cells
from optuna_partition._core.cells import Point
from optuna_partition._rules.source import KnowledgeOf
from optuna_partition._space.early import first_value
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space
from optuna_partition._study.arguments import searched
from optuna_partition._study.ends import may_take_centre
from optuna_partition._study.inferred import is_space_known


__all__ = ["first_params", "good_point_on_slice"]


def first_params(
    known: KnowledgeOf | None,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    name: str,
    distribution: BaseDistribution,
) -> dict[str, Any]:
    """A parameter while no space is known; by its trial's number, if that is not the first.

    The first trial takes the centre, as every rule would, or what is known to be good. Those
    that begin before it has ended know nothing of each other but their numbers.

    Args:
        known: Before the first trial.
        trials: Of the study.
        trial: That suggests the parameter.
        name: The parameter's.
        distribution: The parameter's.
    """
    if may_take_centre(trials[: trial.number]):
        searched({name: distribution})  # what is refused, is before anything is evaluated
        good = _good_value(known, name, distribution)
        if good is not None:
            return {name: good}
        space = Space({name: distribution})
        return space.params(cells.centre(space.axes, cells.root(space.axes)))
    if is_space_known(trials):
        return {}
    return {name: first_value(trial.number, trial.distributions, distribution)}


def good_point_on_slice(
    known: KnowledgeOf | None, space: AnySpace, params: Mapping[str, Any]
) -> Point | None:
    """The point of a slice that what is known is for; None where that says nothing.

    Args:
        known: Before the first trial.
        space: Of the study.
        params: What the trial has decided.
    """
    rest = {n: d for n, d in space.distributions.items() if n not in params}
    good = {n: x for n, d in rest.items() if (x := _good_value(known, n, d)) is not None}
    if not good or not isinstance(space, Space):
        return None
    centre = space.params(cells.centre(space.axes, cells.root(space.axes)))
    return space.point({**centre, **good, **params})


def _good_value(known: KnowledgeOf | None, name: str, distribution: BaseDistribution) -> Any:
    """What is known to be a good value of a parameter; None where nothing is."""
    unit = None if known is None else known.best_guess(name, distribution)
    if unit is None:
        return None
    space = Space({name: distribution})
    (axis,) = space.axes
    return space.params((axis.centre(axis.pin(unit)),))[name]
