"""Regret relative to random search, and its means: pure arithmetic on the lines of the results.

Notation: an instance's least value is f*. Random search reaches m(n), the median over its
repetitions of the best of n evaluations; its regret is R(n) = m(n) - f*. A run that has reached
b(n) has the ratio max(b(n) - f*, FLOOR R(n)) / R(n).

What a run has reached is without noise, and one of three: the best that it has evaluated (seen),
what `study.best_trial` is worth (told), what `optuna_partition.best_trial` is worth (answered).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
import math
import random
import statistics

from benchmarks.compare.results import Key
from benchmarks.compare.results import Line


FLOOR = 1e-4  # a regret of zero has no logarithm, and 1e-9 is no better than 1e-5 to anyone
RESAMPLES = 1000

Place = tuple[str, str, int]  # family, instance, shift
Measure = Callable[[Line, int], float | None]  # a run, evaluations -> what it has reached


@dataclass(frozen=True)
class Scale:
    """What an instance's values are measured by: f*, m(n), and what counts as having none."""

    least: float
    medians: dict[int, float]
    worst: float = math.inf

    def median(self, n: int) -> float:
        """m(n).

        Raises:
            ValueError: The reference was not made for n.
        """
        if n not in self.medians:
            rule = "References are of 1 to 200, 250, 400, 500, 1000, 2000 and 4000 evaluations"
            raise ValueError(f"{rule}, but {n} are asked for: choose other --budgets.")
        return self.medians[n]

    def ratio(self, best: float, n: int) -> float | None:
        """The ratio of a run that has reached `best`; None where random search is at f* too."""
        regret = self.median(n) - self.least
        if regret <= 1e-12 * max(1.0, abs(self.least)):
            return None
        return max(min(best, self.worst) - self.least, FLOOR * regret) / regret


@dataclass(frozen=True)
class Mean:
    """A geometric mean with its 95 % interval by bootstrap over instances."""

    value: float
    low: float
    high: float
    instances: int


def place(line: Line) -> Place:
    return line["family"], line["instance"], line["shift"]


def scales(lines: dict[Key, Line]) -> dict[Place, Scale]:
    """Of all instances; f* of an unknown minimum is the least value that anyone has seen."""
    least: dict[Place, float] = defaultdict(lambda: math.inf)
    for line in lines.values():
        if line["kind"] == "run":
            least[place(line)] = min(least[place(line)], *line["values"])
    found = {}
    for line in lines.values():
        if line["kind"] == "reference":
            known = line["least"] if line["known"] else min(line["least"], least[place(line)])
            medians = {int(n): value for n, value in line["medians"].items()}
            found[place(line)] = Scale(known, medians, line.get("worst", math.inf))
    return found


def seen(line: Line, n: int) -> float:
    """The best of the first n evaluations."""
    return float(min(line["values"][:n]))


def told(line: Line, n: int) -> float:
    """The worth of the evaluation of which the best value was told."""
    if line["told"] is None:
        return seen(line, n)
    at = min(range(n), key=line["told"].__getitem__)
    return float(line["values"][at])


def answered(line: Line, n: int) -> float | None:
    """The worth of the answer after n evaluations; None where nobody asked for it."""
    if line["told"] is None:
        return seen(line, n)
    found: float | None = line.get("answered", {}).get(str(n))
    return found


MEASURES: dict[str, Measure] = {"seen": seen, "told": told, "answered": answered}


def ratios(
    lines: dict[Key, Line], n: int, measure: Measure = seen
) -> dict[str, dict[Place, float]]:
    """Per sampler and instance, the geometric mean over its sequential runs of n evaluations."""
    scale_of = scales(lines)
    runs: dict[str, dict[Place, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines.values():
        if line["kind"] != "run" or line["workers"] != 1 or len(line["values"]) < n:
            continue
        reached = measure(line, n)
        ratio = None if reached is None else scale_of[place(line)].ratio(reached, n)
        if ratio is not None:
            runs[line["sampler"]][place(line)].append(ratio)
    return {
        sampler: {where: geometric_mean(each) for where, each in places.items()}
        for sampler, places in runs.items()
    }


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def mean(values: Sequence[float], seed: int = 0) -> Mean:
    """The geometric mean over instances and its interval."""
    chance = random.Random(seed)
    logs = [math.log(value) for value in values]
    means = sorted(statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    low, high = means[round(0.025 * RESAMPLES)], means[round(0.975 * RESAMPLES) - 1]
    return Mean(math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high), len(logs))
