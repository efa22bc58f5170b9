"""What a prior is worth: regret with one that is good, vague or wrong, relative to none.

    python -m benchmarks.prior [--family lora] [--shifts 3] [--tuning] [--workers 16 --at 16,32]

A good prior lies a tenth of the range from the best, by a normal distribution, and says so. A
vague one lies three tenths away. A wrong one lies half of the range away, round the ends, and says
that it is good. Of choices a good one names the best and a wrong one another.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
import math
import random
import statistics
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.families import lora
from benchmarks.compare.families import real
from benchmarks.compare.families import trained
from benchmarks.compare.instance import Instance
from benchmarks.compare.simulate import asynchronous
from optuna_partition import BaMSOOSampler
from optuna_partition import LogNormal
from optuna_partition import Normal


FAMILIES = {
    "lora": lora.instances,
    "real": real.instances,
    "hpobench": trained.instances("HPOBench"),
}
KINDS = {"good": 0.1, "vague": 0.3, "wrong": 0.1}  # deviations, in ranges
DRAWS = 4000  # of the search for the best where nobody knows it
FLOOR = 1e-3  # added to regrets, so that a ratio of two that are nearly 0 says little


def _value(axis: FloatDistribution | IntDistribution, unit: float) -> float:
    low, high = float(axis.low), float(axis.high)
    value = low * (high / low) ** unit if axis.log else low + unit * (high - low)
    value = round(value) if isinstance(axis, IntDistribution) else value
    return min(max(value, low), high)


def _unit(axis: FloatDistribution | IntDistribution, value: float) -> float:
    if axis.log:
        return math.log(value / axis.low) / math.log(axis.high / axis.low)
    return (value - axis.low) / (axis.high - axis.low)


def _drawn(axis: BaseDistribution, draw: random.Random) -> Any:
    if isinstance(axis, CategoricalDistribution):
        return draw.choice(axis.choices)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    value = _value(axis, draw.random())
    return int(value) if isinstance(axis, IntDistribution) else value


def with_best(instance: Instance) -> Instance:
    """The instance with its best assignment, searched at random where nobody knows it."""
    if instance.best is not None and instance.least is not None:
        return instance
    assert instance.space is not None
    draw = random.Random(0)
    found = [
        {name: _drawn(axis, draw) for name, axis in instance.space.items()} for _ in range(DRAWS)
    ]
    best = min(found, key=instance.counted)
    return replace(instance, best=best, least=instance.value(best))


def prior_of(kind: str, axis: BaseDistribution, best: Any, draw: random.Random) -> Any:
    """What somebody of a kind expects of a parameter; None for nothing."""
    if isinstance(axis, CategoricalDistribution):
        others = [choice for choice in axis.choices if choice != best]
        return {"good": best, "vague": None, "wrong": draw.choice(others or [best])}[kind]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    apart, unit = KINDS[kind], _unit(axis, best)
    unit = (unit + 0.5) % 1 if kind == "wrong" else unit + draw.gauss(0, apart)
    at = _value(axis, min(max(unit, 0.0), 1.0))
    if axis.log:
        return LogNormal(at, (axis.high / axis.low) ** apart)
    return Normal(at, apart * (axis.high - axis.low))


@dataclass(frozen=True)
class Budget:
    """Who evaluates in simulated time, and after how many evaluations regret is read."""

    workers: int
    at: tuple[int, ...]


def regrets(instance: Instance, prior: dict[str, Any], budget: Budget) -> list[float]:
    """After so many evaluations have ended, of the best value seen, without its noise."""
    sampler = BaMSOOSampler(search_space=instance.space, prior=prior, seed=instance.shift)
    study = optuna.create_study(sampler=sampler)
    seen: list[float] = []

    def tell(trial: optuna.Trial) -> None:
        assert instance.least is not None
        value = instance.value(trial.params)
        seen.append(instance.counted(trial.params) - instance.least)
        told = instance.told(trial.params, value, 0, trial.number)
        failed = optuna.trial.TrialState.FAIL if math.isnan(told) else None
        study.tell(trial, None if failed else told, state=failed)

    chance = random.Random(f"{instance.name} {instance.shift}")
    ask = partial(study.ask, instance.space)
    for _ in asynchronous(ask, tell, budget.workers, max(budget.at), chance):
        pass
    return [min(seen[:n]) for n in budget.at]


def ratios(instance: Instance, budget: Budget) -> dict[str, list[float]]:
    """Of each kind of prior its regrets over those without."""
    assert instance.space is not None and instance.best is not None
    without = regrets(instance, {}, budget)
    found = {}
    for kind in KINDS:
        draw = random.Random(f"{instance.name} {instance.shift} {kind}")
        expects = partial(prior_of, kind, draw=draw)
        given = {n: expects(axis, instance.best[n]) for n, axis in instance.space.items()}
        own = regrets(instance, {n: p for n, p in given.items() if p is not None}, budget)
        pairs = zip(own, without, strict=True)
        found[kind] = [(max(a, 0.0) + FLOOR) / (max(b, 0.0) + FLOOR) for a, b in pairs]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=FAMILIES, action="append", help="default: all")
    parser.add_argument("--shifts", type=int, default=3, help="of each problem; default 3")
    parser.add_argument(
        "--tuning", action="store_true", help="on the instances that settings were chosen on"
    )
    parser.add_argument("--workers", type=int, default=1, help="in simulated time; default 1")
    parser.add_argument("--at", default="10,20", help="evaluations; default 10,20")
    args = parser.parse_args()
    budget = Budget(args.workers, tuple(map(int, args.at.split(","))))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    columns = [f"{kind}, {n}" for kind in KINDS for n in budget.at]
    print(f"| family | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for family in args.family or FAMILIES:
        first = 0 if args.tuning else trained.FINAL
        shifts = range(first, first + args.shifts)
        shifted = [each for shift in shifts for each in FAMILIES[family](shift)]
        found = [ratios(with_best(each), budget) for each in shifted if each.space is not None]
        rows = ([each[kind][i] for each in found] for kind in KINDS for i in range(len(budget.at)))
        means = (f"{statistics.geometric_mean(row):.2f}" for row in rows)
        print(f"| {family} ({len(found)}) | {' | '.join(means)} |", flush=True)


if __name__ == "__main__":
    main()
