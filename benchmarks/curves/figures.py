"""From the lines of the results to figures: pure arithmetic.

The target of a problem is what random search reaches with `TARGET` full trainings, the median
over its repetitions, without noise. A run reaches it when a full training ends whose noise-free
value is at most that. A run that does not reach it is censored: it counts as if it had at its end,
so that its mean is a lower bound. Costs are in full trainings: steps of all workers over those of
one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
import math
import statistics
from typing import TypeVar

from benchmarks.compare.regret import Place
from benchmarks.compare.regret import place
from benchmarks.compare.regret import Scale
from benchmarks.compare.results import Key
from benchmarks.compare.results import Line


TARGET = 100
Lines = dict[Key, Line]
Places = dict[Place, list[Line]]
Figure = TypeVar("Figure")


def runs(lines: Lines, workers: int) -> dict[str, Places]:
    """By entrant and problem, those of so many workers."""
    found: dict[str, Places] = defaultdict(lambda: defaultdict(list))
    for line in lines.values():
        if line["kind"] == "run" and line["workers"] == workers:
            found[line["sampler"]][place(line)].append(line)
    return found


def scales(lines: Lines) -> dict[Place, Scale]:
    """Of all problems; the least value is the least that anyone has seen where nobody knows it."""
    seen: dict[Place, float] = defaultdict(lambda: math.inf)
    for line in lines.values():
        if line["kind"] == "run":
            seen[place(line)] = min(seen[place(line)], best(line, math.inf))
    found = {}
    for line in lines.values():
        if line["kind"] == "reference":
            least = line["least"] if line["known"] else min(line["least"], seen[place(line)])
            medians = {int(n): value for n, value in line["medians"].items()}
            found[place(line)] = Scale(least, medians, line["worst"])
    return found


def best(line: Line, trainings: float) -> float:
    """The least noise-free value of the trainings that ended within a budget."""
    return min(
        (v for n, _, v in line["finished"] if n <= trainings * line["steps"]), default=math.inf
    )


def reached(line: Line, target: float) -> tuple[float, float] | None:
    """Trainings and time to a target; None where the run does not reach it."""
    hits = ((n / line["steps"], time) for n, time, value in line["finished"] if value <= target)
    return next(hits, None)


@dataclass(frozen=True)
class Pace:
    """How fast an entrant is on a problem.

    Args:
        reached: How many of its runs reach the target.
        trainings: What each run costs until then.
        times: The simulated time of each run until then.
    """

    reached: int
    trainings: tuple[float, ...]
    times: tuple[float, ...]


def pace(lines: list[Line], target: float) -> Pace:
    hits = [reached(line, target) for line in lines]
    ends = [(line["spent"] / line["steps"], line["time"]) for line in lines]
    pairs = [end if hit is None else hit for hit, end in zip(hits, ends, strict=True)]
    trainings, times = zip(*pairs, strict=True)
    return Pace(len(lines) - hits.count(None), trainings, times)


def paces(lines: Lines, workers: int) -> dict[str, dict[Place, Pace]]:
    """By entrant and problem."""
    measures = scales(lines)
    return _each(lines, workers, lambda where, group: pace(group, measures[where].median(TARGET)))


def ratios(lines: Lines, workers: int, n: int) -> dict[str, list[float]]:
    """By entrant, each run's regret after n trainings' steps over random search's."""
    measures = scales(lines)

    def of(where: Place, group: list[Line]) -> list[float]:
        long = (line for line in group if line["budget"] >= n)
        each = [measures[where].ratio(best(line, n), n) for line in long]
        return [ratio for ratio in each if ratio is not None]

    found = _each(lines, workers, of)
    return {name: list(chain.from_iterable(places.values())) for name, places in found.items()}


@dataclass(frozen=True)
class Stops:
    """What came of stopping.

    Args:
        stopped: Trainings a run that were stopped and never taken up again.
        wrongly: The share of them that would have become better than the run's best.
        lost: The share of runs in which the best of all that was begun is among them.
    """

    stopped: float
    wrongly: float
    lost: float


def stops(lines: list[Line]) -> Stops:
    counts = [len(line["stopped"]) for line in lines]
    wrong = [sum(x < best(line, math.inf) for x in line["stopped"]) for line in lines]
    lost = sum(map(bool, wrong)) / len(lines)
    return Stops(statistics.fmean(counts), sum(wrong) / max(sum(counts), 1), lost)


def _each(
    lines: Lines, workers: int, of: Callable[[Place, list[Line]], Figure]
) -> dict[str, dict[Place, Figure]]:
    return {
        entrant: {where: of(where, group) for where, group in places.items()}
        for entrant, places in runs(lines, workers).items()
    }
