"""A study of Rosenbrock's function that is asked and told, one trial after the other."""

from __future__ import annotations

import time

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler


SPACE: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(-2.0, 3.0) for i in range(6)}


def value(params: dict[str, float]) -> float:
    """Rosenbrock's function."""
    x = list(params.values())
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x[:-1], x[1:], strict=True))


def timed_ask(study: optuna.Study) -> float:
    """Seconds of one ask; its trial is told, so that the next ask has news."""
    start = time.perf_counter()
    trial = study.ask(dict(SPACE))
    seconds = time.perf_counter() - start
    study.tell(trial, value(trial.params))
    return seconds


def grown(sampler: BaseSampler, n: int) -> optuna.Study:
    """A study with n told trials of a sampler, where that is quick: TPE's are drawn at random."""
    own = not isinstance(sampler, TPESampler)
    study = optuna.create_study(sampler=sampler if own else RandomSampler(seed=0))
    for _ in range(n):
        timed_ask(study)
    return study
