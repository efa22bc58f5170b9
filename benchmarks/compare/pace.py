"""When a target is reached: in simulated time by W workers, and in evaluations on `real`.

The target of n evaluations is what random search reaches with `HEAD_START` times as many, the
median over its repetitions. Runs may go on beyond n to reach it, all of them equally long; one
that does not reach it takes infinitely long.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
import math
import random
import statistics

from benchmarks.compare.regret import Place
from benchmarks.compare.regret import place
from benchmarks.compare.regret import RESAMPLES
from benchmarks.compare.regret import scales
from benchmarks.compare.results import Key
from benchmarks.compare.results import Line


HEAD_START = 10
GOOD, ACCEPTABLE = 0.475, 0.46  # HellaSwag accuracies of `real`

Times = dict[str, dict[Place, float]]


def times(lines: dict[Key, Line], workers: int, n: int) -> Times:
    """Per sampler and instance the median time of its runs to the target of n evaluations."""
    measures, length = scales(lines), common_length(lines, workers)
    found: dict[str, dict[Place, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in _runs(lines, workers):
        target = measures[place(line)].median(HEAD_START * n)
        found[line["sampler"]][place(line)].append(_reached(line, length, target))
    return {
        sampler: {where: statistics.median_high(each) for where, each in places.items()}
        for sampler, places in found.items()
    }


def common_length(lines: dict[Key, Line], workers: int) -> int:
    """Evaluations of the shortest run: no sampler may have longer than another."""
    return min(len(line["values"]) for line in _runs(lines, workers))


def _runs(lines: dict[Key, Line], workers: int) -> list[Line]:
    return [x for x in lines.values() if x["kind"] == "run" and x["workers"] == workers]


def _reached(line: Line, length: int, target: float) -> float:
    pairs = zip(line["values"][:length], line["ended"], strict=False)
    return next((now for value, now in pairs if value <= target), math.inf)


def median_ratio(ours: dict[Place, float], others: dict[Place, float]) -> float:
    """The median time of the one over that of the other, on the instances that both have."""
    both = sorted(ours.keys() & others.keys())
    return _over([ours[where] for where in both], [others[where] for where in both])


def interval(ours: dict[Place, float], others: dict[Place, float]) -> tuple[float, float]:
    """The 95 % interval of `median_ratio` by bootstrap over instances."""
    both, chance = sorted(ours.keys() & others.keys()), random.Random(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = chance.choices(both, k=len(both))
        found.append(_over([ours[where] for where in drawn], [others[where] for where in drawn]))
    found.sort()
    return found[round(0.025 * RESAMPLES)], found[round(0.975 * RESAMPLES) - 1]


def _over(a: list[float], b: list[float]) -> float:
    """Infinite, or 0, where one of the medians is infinite; 1 where both are."""
    top, bottom = statistics.median_high(a), statistics.median_high(b)
    return 1.0 if math.isinf(top) and math.isinf(bottom) else top / bottom


@dataclass(frozen=True)
class Real:
    """What a sampler does on the surrogate of real evaluations.

    Args:
        repeats: Its runs.
        evaluations: Median evaluations until the accuracy told is `GOOD`, infinite if seldom.
        quartiles: The quartiles of that.
        share: Mean share of the trials with an accuracy above `ACCEPTABLE`.
    """

    repeats: int
    evaluations: float
    quartiles: tuple[float, float]
    share: float


def real(lines: dict[Key, Line], n: int) -> dict[str, Real]:
    """Per sampler, from the first n evaluations of its sequential runs on `real`."""
    told: dict[str, list[list[float]]] = defaultdict(list)
    for line in _runs(lines, workers=1):
        if line["family"] == "real" and len(line["values"]) >= n:
            told[line["sampler"]].append([-value for value in line["told"][:n]])
    return {sampler: _real(scores) for sampler, scores in told.items()}


def _real(runs: list[list[float]]) -> Real:
    firsts = sorted(_first_good(scores) for scores in runs)
    shares = [sum(score > ACCEPTABLE for score in scores) / len(scores) for scores in runs]
    quartiles = firsts[len(firsts) // 4], firsts[(3 * len(firsts)) // 4]
    return Real(len(runs), statistics.median_high(firsts), quartiles, statistics.fmean(shares))


def _first_good(scores: list[float]) -> float:
    return next((i for i, score in enumerate(scores, 1) if score >= GOOD), math.inf)
