"""Time of an ask of samplers that fit models: `python benchmarks/ask_models.py [--trials 200]`.

Every sampler runs a study of its own, six float parameters in memory; they take turns ask by ask,
so that the machine's drift cancels in a ratio. The mean is over all asks of the run, so that fits
count as often as they come. `--random 1000 --asks 20` times the asks after a history of random
points instead, where a whole run would take an hour; the first of them, which reads the history
and fits for the first time, is shown apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from pathlib import Path
import statistics
import sys
import warnings

import optuna
from optuna.samplers import RandomSampler


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._asks import SPACE
from benchmarks._asks import timed_ask
from benchmarks._asks import value
from benchmarks.compare import peers
from benchmarks.compare.instance import Instance


INSTANCE = Instance("ask", "rosenbrock6", 0, value, SPACE)


@dataclass
class Timed:
    """A sampler's study, and the seconds of its asks so far."""

    study: optuna.Study
    seconds: list[float] = field(default_factory=list)

    def ask(self) -> None:
        self.seconds.append(timed_ask(self.study))


def turns(samplers: list[str], history: int) -> Iterator[dict[str, Timed]]:
    """The samplers' times, after each further ask of all."""
    timed = {name: Timed(_study(name, history)) for name in samplers}
    while True:
        for each in timed.values():
            each.ask()
        yield timed


def _study(name: str, history: int) -> optuna.Study:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(history):
        timed_ask(study)
    study.sampler = peers.maker(name)(INSTANCE, 0)
    return study


def line(name: str, seconds: list[float], base: list[float]) -> str:
    """Milliseconds: mean, of the last ten, longest; and the mean over the base's."""
    mean, last = statistics.mean(seconds), statistics.mean(seconds[-10:])
    times = "  ".join(f"{1e3 * each:>8.0f}" for each in (mean, last, max(seconds)))
    return f"{len(seconds):>5}  {name:>8}  {times}  {mean / statistics.mean(base):>8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="time of an ask of samplers that fit models")
    parser.add_argument("--samplers", default="gp,bamsoo,tpe", help="the first is the base")
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 200], help="shown at")
    parser.add_argument("--random", type=int, help="random points before")
    parser.add_argument("--asks", type=int, default=20, help="after the random points")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    names = options.samplers.split(",")
    print(" asks   sampler   mean ms   last 10   longest  to " + names[0])
    rounds = turns(names, options.random or 0)
    if options.random:
        first = {name: timed.seconds.pop() for name, timed in next(rounds).items()}
        print("first: " + ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in first.items()))
    shown = [options.asks] if options.random else options.trials
    for n, timed in zip(count(1), rounds):
        if n in shown:
            for name in names:
                print(line(name, timed[name].seconds, timed[names[0]].seconds), flush=True)
        if n == max(shown):
            return


if __name__ == "__main__":
    main()
