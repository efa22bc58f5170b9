"""Family `failing`: functions of `smooth` that have no value in a quarter of their box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
import random

from optuna.distributions import FloatDistribution

from benchmarks.compare.families import smooth
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params


NAMES = ("branin", "hartmann3", "rosenbrock4", "styblinski-tang4", "hartmann6")


def instances(shift: int) -> list[Instance]:
    return [_failing(each, shift) for each in smooth.instances(shift) if each.name in NAMES]


def _failing(instance: Instance, shift: int) -> Instance:
    """Without the outer quarter of two axes, one that the minimum is not in."""
    assert instance.space is not None and instance.best is not None
    chance = random.Random(f"failing {instance.name} {shift}")
    axes = chance.sample(sorted(instance.space), 2)
    upper = {name: _is_upper(instance, name, instance.best) for name in axes}
    quarters = [(a, b) for a in (False, True) for b in (False, True)]
    quarters.remove((upper[axes[0]], upper[axes[1]]))
    quarter = dict(zip(axes, chance.choice(quarters), strict=True))
    return replace(instance, family="failing", value=_without(instance, quarter))


def _is_upper(instance: Instance, name: str, params: Params) -> bool:
    """Whether a parameter is in the upper half of its axis."""
    axis = (instance.space or {})[name]
    assert isinstance(axis, FloatDistribution)
    return bool(params[name] > (axis.low + axis.high) / 2)


def _without(instance: Instance, quarter: dict[str, bool]) -> Callable[[Params], float]:
    def value(params: Params) -> float:
        dies = all(_is_upper(instance, name, params) == up for name, up in quarter.items())
        return math.nan if dies else instance.value(params)

    return value
