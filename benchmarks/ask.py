"""Time of an ask beside Optuna's own samplers: `python benchmarks/ask.py [--trials 1000 10000]`.

Every sampler answers the same number of asks in the same run: six float parameters, in-memory
storage, a history of n told trials - its own, random ones for TPE, which would need an hour for
its own 10,000. The samplers take turns ask by ask, so that the machine's drift cancels in the
ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import statistics
import time

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


SPACE = {f"x{i}": FloatDistribution(-2.0, 3.0) for i in range(6)}
SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "soo": lambda: SOOSampler(search_space=dict(SPACE)),
    "direct": lambda: DIRECTSampler(search_space=dict(SPACE)),
    "tpe": lambda: TPESampler(seed=0),
}


def value(params: dict[str, float]) -> float:
    """Rosenbrock's function."""
    x = list(params.values())
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x[:-1], x[1:], strict=True))


def grown(sampler: BaseSampler, n: int) -> optuna.Study:
    """A study with n told trials."""
    own = not isinstance(sampler, TPESampler)
    study = optuna.create_study(sampler=sampler if own else RandomSampler(seed=0))
    for _ in range(n):
        trial = study.ask(dict(SPACE))
        study.tell(trial, value(trial.params))
    study.sampler = sampler
    return study


def timed_ask(study: optuna.Study) -> float:
    """Seconds of one ask; the trial is told so that the next ask has news."""
    start = time.perf_counter()
    trial = study.ask(dict(SPACE))
    seconds = time.perf_counter() - start
    study.tell(trial, value(trial.params))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="time of an ask, sampler by sampler")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--asks", type=int, default=30, help="timed asks of each sampler")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        f"{'trials':>7}  "
        + "  ".join(f"{name + ' ms':>10}" for name in SAMPLERS)
        + "  soo/tpe  direct/tpe"
    )
    for n in arguments.trials:
        studies = {name: grown(make(), n) for name, make in SAMPLERS.items()}
        times: dict[str, list[float]] = {name: [] for name in studies}
        for study in studies.values():
            timed_ask(study)  # the first ask reads the whole history
        for _ in range(arguments.asks):
            for name, study in studies.items():
                times[name].append(timed_ask(study))
        median = {name: statistics.median(t) * 1e3 for name, t in times.items()}
        ratios = [median[name] / median["tpe"] for name in ("soo", "direct")]
        print(
            f"{n:>7}  "
            + "  ".join(f"{m:>10.2f}" for m in median.values())
            + f"  {ratios[0]:7.4f}  {ratios[1]:7.4f}"
        )


if __name__ == "__main__":
    main()
