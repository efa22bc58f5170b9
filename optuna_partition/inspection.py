"""What a partition sampler made of a study: reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from optuna_partition._record import Ask
from optuna_partition._record import History
from optuna_partition._soo import SOO
from optuna_partition._space import Space
from optuna_partition._tree import Node


__all__ = ["CellInfo", "cells", "unit"]

_RULES = {rule.name: rule for rule in (SOO,)}


@dataclass(frozen=True)
class CellInfo:
    """One cell of the partition.

    Args:
        low: Parameter name -> lower end in the unit cube, on the axis as the sampler cuts it.
        high: The same for the upper end.
        depth: Number of cuts from the whole space.
        value: The best value observed inside, None when there is none yet.
        trials: Numbers of the trials inside.
    """

    low: Mapping[str, float]
    high: Mapping[str, float]
    depth: int
    value: float | None
    trials: tuple[int, ...]


def cells(study: Study) -> list[CellInfo]:
    """The cells that partition the space of a study now, from left to right.

    Args:
        study: Its newest trial that a partition sampler asked for tells rule and space.

    Returns:
        Disjoint cells that cover the space; empty if no trial is from a partition sampler.
    """
    trials = study.get_trials(deepcopy=False)
    newest = next((found for trial in reversed(trials) if (found := _asked(trial))), None)
    if newest is None:
        return []
    ask, space = newest
    sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
    history = History(space, _RULES[ask.rule], sign=sign, strict=False)
    history.update(trials)
    return [_info(space, leaf, sign) for leaf in history.tree.leaves()]


def unit(
    search_space: Mapping[str, BaseDistribution], params: Mapping[str, Any]
) -> dict[str, float] | None:
    """Where parameters lie in the unit cube of `cells`, or None if outside the space."""
    return Space(search_space).unit(params)


def _asked(trial: FrozenTrial) -> tuple[Ask, Space] | None:
    """What a trial carries and the space of its cell, once all parameters are in it."""
    ask = Ask.of(trial)
    if ask is None or not set(ask.axes) <= set(trial.distributions):
        return None
    return ask, Space({name: trial.distributions[name] for name in ask.axes})


def _info(space: Space, leaf: Node, sign: float) -> CellInfo:
    ends = [axis.ends(i) for axis, i in zip(space.axes, leaf.cell, strict=True)]
    names = list(space.distributions)
    return CellInfo(
        low=dict(zip(names, (low for low, _ in ends), strict=True)),
        high=dict(zip(names, (high for _, high in ends), strict=True)),
        depth=leaf.depth,
        value=None if math.isnan(leaf.value) else sign * leaf.value,
        trials=tuple(sorted(leaf.observations)),
    )
