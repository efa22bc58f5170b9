"""Simulated asynchronous workers: `python benchmarks/parallel.py [--workers 1 4 16 64]`.

W workers share a study in simulated time: each evaluation takes a lognormal time (median 1, sigma
0.5), and a worker that finishes asks at once. For every instance the target is the value that
random search reaches with the whole budget (median of 5 runs); counted are the simulated time and
the evaluations told until a sampler reaches it. Reported per sampler and W: on how many instances
it reached the target at all; the median of its evaluations there; and the geometric means of the
speed-up and of the inflation in evaluations against its own W = 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import heapq
import math
from pathlib import Path
import random
import statistics
import sys

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from problems import Problem  # the tests' formulas
from problems import PROBLEMS


Space = dict[str, BaseDistribution]
SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "soo": lambda space, seed: SOOSampler(search_space=space),
    "direct-l": lambda space, seed: DIRECTSampler(search_space=space),
    "direct": lambda space, seed: DIRECTSampler(search_space=space, locally_biased=False),
    "tpe": lambda space, seed: TPESampler(seed=seed),
    "random": lambda space, seed: RandomSampler(seed=seed),
}


HEAD = "  sampler   W  reached  evaluations  speed-up  inflation"


@dataclass(frozen=True)
class Run:
    """When a run reached its target; None if it did not."""

    time: float | None
    evaluations: int | None


def shifted(problem: Problem, seed: int) -> Problem:
    """The problem on a box moved by up to a tenth of its sides, so that no centre is lucky."""
    chance = random.Random(seed)
    moves = [0.1 * (high - low) * chance.uniform(-1, 1) for low, high in problem.box]
    box = tuple((low + m, high + m) for (low, high), m in zip(problem.box, moves, strict=True))
    return Problem(problem.f, box, problem.least, problem.direct, problem.direct_l)


def space_of(problem: Problem) -> Space:
    return {f"x{i:02}": FloatDistribution(low, high) for i, (low, high) in enumerate(problem.box)}


def simulate(
    problem: Problem, sampler: BaseSampler, workers: int, budget: int, target: float, seed: int
) -> Run:
    """Asks and tells in the order of simulated time, until the target or the budget."""
    space, chance = space_of(problem), random.Random(seed)
    study = optuna.create_study(sampler=sampler)
    running: list[tuple[float, int, optuna.Trial]] = []

    def start(now: float) -> None:
        trial = study.ask(dict(space))
        ends = now + math.exp(chance.gauss(0, 0.5))
        heapq.heappush(running, (ends, trial.number, trial))

    for _ in range(workers):
        start(0.0)
    for told in range(1, budget + 1):
        now, _, trial = heapq.heappop(running)
        value = problem.f(list(trial.params.values()))
        study.tell(trial, value)
        if value <= target:
            return Run(now, told)
        start(now)
    return Run(None, None)


def random_target(problem: Problem, evaluations: int, seeds: int) -> float:
    """The median best value of random search."""
    bests = []
    for seed in range(seeds):
        chance = random.Random(1000 + seed)
        points = ([chance.uniform(*ends) for ends in problem.box] for _ in range(evaluations))
        bests.append(min(problem.f(point) for point in points))
    return statistics.median(bests)


def geometric_mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description="simulated asynchronous workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--budget", type=int, default=400, help="evaluations of a run")
    parser.add_argument("--seeds", type=int, default=3, help="shifts of each problem")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    instances = [shifted(p, seed) for p in PROBLEMS.values() for seed in range(arguments.seeds)]
    targets = [random_target(p, arguments.budget, 5) for p in instances]
    print(f"{len(instances)} instances; target: the best of {arguments.budget} random points")
    print(HEAD)
    for name in arguments.samplers:
        alone: dict[int, Run] = {}
        for workers in arguments.workers:
            runs = {
                i: simulate(p, SAMPLERS[name](space_of(p), i), workers, arguments.budget, t, i)
                for i, (p, t) in enumerate(zip(instances, targets, strict=True))
            }
            alone = alone or runs
            print(row(name, workers, runs, alone), flush=True)


def row(name: str, workers: int, runs: dict[int, Run], alone: dict[int, Run]) -> str:
    reached = {i: run for i, run in runs.items() if run.time is not None}
    both = [i for i in reached if alone[i].time is not None]
    speed = geometric_mean([(alone[i].time or 0) / (runs[i].time or 1) for i in both])
    inflation = geometric_mean(
        [(runs[i].evaluations or 1) / (alone[i].evaluations or 1) for i in both]
    )
    evaluations = statistics.median([r.evaluations or 0 for r in reached.values()] or [math.nan])
    share = f"{len(reached)}/{len(runs)}"
    return (
        f"{name:>9} {workers:>3} {share:>8} {evaluations:>12.0f} {speed:>9.2f} {inflation:>10.2f}"
    )


if __name__ == "__main__":
    main()
