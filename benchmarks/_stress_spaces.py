"""Random search spaces under many asks at once: what repeats, what is lost; one process.

A study on a random mixed space, given or inferred, with a number of trials in flight. Some trials
die, as when a worker is killed. No point may be evaluated twice, no point that died may be lost,
and a finite space must be covered whole.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
import math
import random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._space.space import Space as Axes


Space = dict[str, BaseDistribution]
Point = tuple[Any, ...]
SAMPLERS: dict[str, Callable[[Space | None], BaseSampler]] = {
    "soo": lambda space: SOOSampler(search_space=space),
    "direct-l": lambda space: DIRECTSampler(search_space=space),
    "direct": lambda space: DIRECTSampler(search_space=space, locally_biased=False),
    "bamsoo": lambda space: BaMSOOSampler(search_space=space),
}
WIDTHS = (2, 5, 17, 64)
DEATHS = 0.05  # of the trials
PATIENCE = 2  # times the width: how many asks later a point that died must have come again


@dataclass(frozen=True)
class Run:
    """One study.

    Args:
        sampler: Makes the sampler of a space, or of None where it is to be inferred.
        space: What the objective suggests.
        given: Whether the sampler is told.
        width: Trials in flight at a time.
        trials: At most; fewer where the space has fewer points.
        seed: Of the moments at which trials end or die.
        soon: Whether a point that died must come again soon, also where there are many others.
    """

    sampler: Callable[[Space | None], BaseSampler]
    space: Space
    given: bool
    width: int
    trials: int = 150
    seed: int = 0
    soon: bool = False


@dataclass(frozen=True)
class Found:
    """What is wrong with a study: evaluations too many, and points that never came again."""

    repeated: int
    lost: int


def rows(spaces: int) -> Iterator[tuple[str, Found]]:
    """Random spaces under every sampler and width, given and inferred, and what is wrong."""
    for name, sampler in SAMPLERS.items():
        for given in (True, False):
            for width in WIDTHS:
                found = [
                    go(Run(sampler, random_space(random.Random(seed)), given, width, seed=seed))
                    for seed in range(spaces)
                ]
                total = Found(sum(f.repeated for f in found), sum(f.lost for f in found))
                yield f"{name} | {'given' if given else 'inferred'} | {width}", total


def random_space(chance: random.Random, most: int = 5) -> Space:
    """One to `most` parameters of all kinds."""
    kinds = (_float, _log_float, _int, _log_int, _categories, _steps)
    return {f"x{i}": chance.choice(kinds)(chance) for i in range(chance.randint(1, most))}


def _float(chance: random.Random) -> BaseDistribution:
    low = chance.uniform(-100, 100)
    return FloatDistribution(low, low + 10 ** chance.uniform(-3, 4))


def _log_float(chance: random.Random) -> BaseDistribution:
    low = 10 ** chance.uniform(-6, 1)
    return FloatDistribution(low, low * 10 ** chance.uniform(0.1, 6), log=True)


def _int(chance: random.Random) -> BaseDistribution:
    low, step = chance.randint(-5, 5), chance.randint(1, 3)
    return IntDistribution(low, low + step * chance.randint(1, 40), step=step)


def _log_int(chance: random.Random) -> BaseDistribution:
    low = chance.randint(1, 5)
    return IntDistribution(low, low + chance.randint(1, 60), log=True)


def _categories(chance: random.Random) -> BaseDistribution:
    return CategoricalDistribution("abcdefg"[: chance.randint(2, 7)])


def _steps(chance: random.Random) -> BaseDistribution:
    low = chance.randint(-3, 3)
    return FloatDistribution(low, low + 0.25 * chance.randint(1, 9), step=0.25)


def go(run: Run) -> Found:
    """Runs a study and counts."""
    search = _Search(run)
    while search.may_ask():
        search.ask()
        if len(search.flying) == run.width:
            search.end_one()
    for trial, point in search.flying:
        search.tell(trial, point)
    return Found(search.repeated, search.lost())


class _Search:
    """A study on its way, and what it has evaluated."""

    def __init__(self, run: Run) -> None:
        self.run, self.chance = run, random.Random(run.seed)
        sampler = run.sampler(run.space if run.given else None)
        self.study = optuna.create_study(sampler=sampler)
        self.axes = Axes(run.space)
        self.size = math.prod(axis.size() for axis in self.axes.axes)
        self.flying: list[tuple[optuna.Trial, Point]] = []
        self.taken: set[Point] = set()
        self.dead: dict[Point, int] = {}  # point -> asks when it died, until it comes again
        self.died: set[Point] = set()  # once each: three times would be given up
        self.asks = self.repeated = 0

    def may_ask(self) -> bool:
        """Until the trials are spent, or a finite space is covered whole."""
        spent = self.asks - len(self.died)  # each death frees a point
        return spent < min(self.run.trials, self.size)

    def ask(self) -> None:
        trial = self.study.ask()
        point = tuple(trial._suggest(name, d) for name, d in self.run.space.items())
        self.asks += 1
        self.repeated += point in self.taken
        self.taken.add(point)
        self.dead.pop(point, None)
        self.flying.append((trial, point))

    def end_one(self) -> None:
        trial, point = self.flying.pop(self.chance.randrange(len(self.flying)))
        if self.chance.random() < DEATHS and point not in self.died:
            self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            self.taken.discard(point)
            self.died.add(point)
            self.dead[point] = self.asks
        else:
            self.tell(trial, point)

    def tell(self, trial: optuna.Trial, point: Point) -> None:
        """The value of a bowl with ties: plateaus are where orders show."""
        units = self.axes.unit(dict(zip(self.run.space, point, strict=True)))
        assert units is not None
        self.study.tell(trial, round(sum((u - 0.3) ** 2 for u in units.values()), 2))

    def lost(self) -> int:
        """Points that died, and did not come again although there was time enough."""
        if self.size <= self.run.trials:
            return len(self.dead)
        patience = PATIENCE * self.run.width
        return self.run.soon * sum(self.asks - died > patience for died in self.dead.values())
