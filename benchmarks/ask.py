"""Time of an ask beside Optuna's own samplers: `python benchmarks/ask.py [--trials 1000 10000]`.

Every sampler answers the same number of asks in the same run: six float parameters, in-memory
storage, a history of n told trials - its own, random ones for TPE, which would need an hour for
its own 10,000. The samplers take turns ask by ask, so that the machine's drift cancels in the
ratio.

Many workers are `--in-flight 250 500`: so many trials are running at every timed ask, and the
oldest gets its value after it. `--dimensions 100` is a larger space, `--samplers soo direct`
leaves the others out.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
import itertools
from pathlib import Path
import statistics
import sys
import time

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._asks import value
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


Space = dict[str, BaseDistribution]
SAMPLERS: dict[str, Callable[[Space], BaseSampler]] = {
    "random": lambda space: RandomSampler(seed=0),
    "soo": lambda space: SOOSampler(search_space=dict(space)),
    "direct": lambda space: DIRECTSampler(search_space=dict(space)),
    "direct-g": lambda space: DIRECTSampler(locally_biased=False, search_space=dict(space)),
    "tpe": lambda space: TPESampler(seed=0),
}
USUAL = ["random", "soo", "direct", "tpe"]


class Running:
    """A study with a sampler, and its trials in flight.

    Args:
        name: The sampler's.
        space: Its search space.
        n_told: Trials that have a value.
        n_in_flight: Trials that run.
    """

    def __init__(self, name: str, space: Space, n_told: int, n_in_flight: int) -> None:
        self._space = space
        sampler = SAMPLERS[name](space)
        own = not isinstance(sampler, TPESampler)
        self._study = optuna.create_study(sampler=sampler if own else RandomSampler(seed=0))
        self._flying: deque[optuna.Trial] = deque()
        for _ in range(n_told):
            self._ask()
            self._tell()
        self._study.sampler = sampler
        for _ in range(n_in_flight):
            self._ask()
        self.timed_ask()  # the first ask reads the whole history

    def timed_ask(self) -> float:
        """Seconds of one ask; the oldest trial is told so that the next ask has news."""
        start = time.perf_counter()
        self._ask()
        seconds = time.perf_counter() - start
        self._tell()
        return seconds

    def _ask(self) -> None:
        self._flying.append(self._study.ask(dict(self._space)))

    def _tell(self) -> None:
        trial = self._flying.popleft()
        self._study.tell(trial, value(trial.params))


def medians(names: list[str], space: Space, told: int, flying: int, asks: int) -> dict[str, float]:
    """Milliseconds of an ask, sampler by sampler."""
    studies = {name: Running(name, space, told, flying) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(asks):
        for name, study in studies.items():
            times[name].append(study.timed_ask())
    return {name: statistics.median(t) * 1e3 for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="time of an ask, sampler by sampler")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[0])
    parser.add_argument("--dimensions", type=int, default=6)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=USUAL)
    parser.add_argument("--asks", type=int, default=30, help="timed asks of each sampler")
    arguments = parser.parse_args()
    names = arguments.samplers
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space: Space = {f"x{i}": FloatDistribution(-2.0, 3.0) for i in range(arguments.dimensions)}
    against = [(name, "tpe") for name in names if "tpe" in names and name in ("soo", "direct")]
    titles = [f"{name + ' ms':>11}" for name in names] + [f"{a}/{b}" for a, b in against]
    print(f"{'trials':>7}  {'in flight':>9}  " + "  ".join(titles))
    for told, flying in itertools.product(arguments.trials, arguments.in_flight):
        median = medians(names, space, told, flying, arguments.asks)
        cells = [f"{median[name]:>11.2f}" for name in names]
        cells += [f"{median[a] / median[b]:>{len(f'{a}/{b}')}.4f}" for a, b in against]
        print(f"{told:>7}  {flying:>9}  " + "  ".join(cells))


if __name__ == "__main__":
    main()
