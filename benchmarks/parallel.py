"""Simulated asynchronous workers: `python -m benchmarks.parallel [--workers 1 4 16 64]`.

W workers share a study in simulated time (`compare/simulate.py`), on the `smooth` problems of the
comparison. For every instance the target is the value that random search reaches with the whole
budget (median of 5 runs); counted are the simulated time and the evaluations told until a sampler
reaches it. Reported per sampler and W: on how many instances it reached the target at all; the
median of its evaluations there; and the geometric means of the speed-up and of the inflation in
evaluations against its own W = 1.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
import math
import random
import statistics

import optuna
from optuna.samplers import BaseSampler

from benchmarks.compare import peers
from benchmarks.compare.families import FAMILIES
from benchmarks.compare.instance import Instance
from benchmarks.compare.regret import geometric_mean
from benchmarks.compare.run import Session
from benchmarks.compare.simulate import asynchronous


SAMPLERS = ("soo", "direct", "direct-full", "tpe", "random")
HEAD = "     sampler   W  reached  evaluations  speed-up  inflation"


@dataclass(frozen=True)
class Run:
    """When a run reached its target; None if it did not."""

    time: float | None
    evaluations: int | None


def simulate(
    instance: Instance, sampler: BaseSampler, workers: int, budget: int, target: float, seed: int
) -> Run:
    """Asks and tells in the order of simulated time, until the target or the budget."""
    session = Session(instance, sampler, seed)
    times = asynchronous(session.ask, session.tell, workers, budget, random.Random(seed))
    for told, now in enumerate(times, 1):
        if session.values[-1] <= target:
            return Run(now, told)
    return Run(None, None)


def random_target(instance: Instance, evaluations: int, seeds: int) -> float:
    """The median best value of random search."""
    assert instance.space is not None
    ends = {name: (axis.low, axis.high) for name, axis in instance.space.items()}
    bests = []
    for seed in range(seeds):
        chance = random.Random(1000 + seed)
        points = ({k: chance.uniform(*e) for k, e in ends.items()} for _ in range(evaluations))
        bests.append(min(map(instance.value, points)))
    return statistics.median(bests)


def main() -> None:
    parser = argparse.ArgumentParser(description="simulated asynchronous workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--budget", type=int, default=400, help="evaluations of a run")
    parser.add_argument("--shifts", type=int, default=2, help="of each problem")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shifts = range(arguments.shifts)
    instances = [each for shift in shifts for each in FAMILIES["smooth"](shift)]
    targets = [random_target(each, arguments.budget, 5) for each in instances]
    print(f"{len(instances)} instances; target: the best of {arguments.budget} random points")
    print(HEAD)
    for name in arguments.samplers:
        make = peers.maker(name)
        alone: dict[int, Run] = {}
        for workers in arguments.workers:
            runs = {
                i: simulate(each, make(each, i), workers, arguments.budget, target, i)
                for i, (each, target) in enumerate(zip(instances, targets, strict=True))
            }
            alone = alone or runs
            print(row(name, workers, runs, alone), flush=True)


def row(name: str, workers: int, runs: dict[int, Run], alone: dict[int, Run]) -> str:
    reached = {i: run for i, run in runs.items() if run.time is not None}
    both = [i for i in reached if alone[i].time is not None]
    speed = _mean([(alone[i].time or 0) / (runs[i].time or 1) for i in both])
    inflation = _mean([(runs[i].evaluations or 1) / (alone[i].evaluations or 1) for i in both])
    evaluations = statistics.median([r.evaluations or 0 for r in reached.values()] or [math.nan])
    share = f"{len(reached)}/{len(runs)}"
    return (
        f"{name:>12} {workers:>3} {share:>8} {evaluations:>12.0f} {speed:>9.2f} {inflation:>10.2f}"
    )


def _mean(ratios: list[float]) -> float:
    return geometric_mean(ratios) if ratios else math.nan


if __name__ == "__main__":
    main()
