"""The long random search that regret is relative to: once per instance, kept with the results."""

from __future__ import annotations

from collections.abc import Sequence
import heapq
import math
import random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.results import Line
from benchmarks.compare.unit import at


MEDIANS = (*range(1, 201), 250, 400, 500, 1000, 2000, 4000)  # evaluations of the stored medians
REFINED = 5  # best random points from which the least value is looked for
MOVES = 80  # local moves from each


class UnitTrial:
    """Takes each parameter's coordinate in the unit interval from a dictionary.

    A coordinate that is missing is drawn, so that branches which open later are random too.
    """

    def __init__(self, units: dict[str, float], chance: random.Random) -> None:
        self.units, self._chance = units, chance

    def _at(self, name: str, axis: BaseDistribution) -> Any:
        if name not in self.units:
            self.units[name] = self._chance.random()
        return at(axis, self.units[name])

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._at(name, FloatDistribution(low, high, step=step, log=log)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._at(name, IntDistribution(low, high, step=step, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._at(name, CategoricalDistribution(choices))


Scored = tuple[float, dict[str, float]]  # a value and the coordinates it was found at


def reference(instance: Instance) -> Line:
    """A line with the medians of random search and the least value known.

    The best of n independent values is below the q-quantile of one value in half of all searches
    when (1 - q)**n = 1/2. So a search of N evaluations gives every median at n much below N, and
    more precisely than N / n repetitions of n evaluations.

    Infeasible points are infinite. Until a search has a feasible one it counts as the worst of all
    feasible ones: so it is no better than any search that has one.
    """
    chance = random.Random(f"{instance.family} {instance.name} {instance.shift}")
    scored = [_score(instance, {}, chance) for _ in range(instance.reference)]
    values = sorted(value for value, _ in scored)
    worst = max(value for value in values if math.isfinite(value))
    return {
        "kind": "reference",
        "family": instance.family,
        "instance": instance.name,
        "shift": instance.shift,
        "budget": instance.reference,
        "worst": worst,
        "medians": {str(n): min(median_best(values, n), worst) for n in MEDIANS},
        "least": _least(instance, scored, chance) if instance.least is None else instance.least,
        "known": instance.least is not None,
    }


def median_best(ordered: Sequence[float], n: int) -> float:
    """The median of the best of n values drawn from `ordered`, which ascends."""
    share = -math.expm1(-math.log(2) / n)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _score(instance: Instance, units: dict[str, float], chance: random.Random) -> Scored:
    trial = UnitTrial(units, chance)
    return instance.counted(instance.ask(trial)), trial.units


def _least(instance: Instance, scored: list[Scored], chance: random.Random) -> float:
    """The least value of local searches from the best random points."""
    starts = heapq.nsmallest(REFINED, scored, key=lambda each: each[0])
    return min(_descend(instance, start, chance) for start in starts)


def _descend(instance: Instance, best: Scored, chance: random.Random) -> float:
    """A (1+1) evolution strategy with the one-fifth rule on some coordinates at a time."""
    width = 0.1
    for _ in range(MOVES):
        moved = _score(instance, _neighbour(best[1], width, chance), chance)
        width *= 1.5 if moved[0] < best[0] else 0.9
        best = min(best, moved, key=lambda each: each[0])
    return best[0]


def _neighbour(units: dict[str, float], width: float, chance: random.Random) -> dict[str, float]:
    """About half of the coordinates moved, within the unit interval."""
    moves = {name: chance.gauss(0, width) for name in units if chance.random() < 0.5}
    return {name: min(max(x + moves.get(name, 0.0), 0.0), 1.0) for name, x in units.items()}
