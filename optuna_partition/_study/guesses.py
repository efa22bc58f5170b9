"""Where what is known before the first trial expects the best; claims nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution

from optuna_partition._core import cells
from optuna_partition._core.cells import Point
from optuna_partition._rules.source import KnowledgeOf
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space


__all__ = ["good_point_on_slice", "good_value"]


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
    good = {n: x for n, d in rest.items() if (x := good_value(known, n, d)) is not None}
    if not good or not isinstance(space, Space):
        return None
    centre = space.params(cells.centre(space.axes, cells.root(space.axes)))
    return space.point({**centre, **good, **params})


def good_value(known: KnowledgeOf | None, name: str, distribution: BaseDistribution) -> Any:
    """What is known to be a good value of a parameter; None where nothing is."""
    unit = None if known is None else known.best_guess(name, distribution)
    if unit is None:
        return None
    space = Space({name: distribution})
    (axis,) = space.axes
    return space.params((axis.centre(axis.pin(unit)),))[name]
