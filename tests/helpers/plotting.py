"""Objectives, the studies that run them, and the traces of a figure by name."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition import SOOSampler


MIXED = {
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "rank": IntDistribution(4, 64, log=True),
    "kind": CategoricalDistribution(["a<b", None, True]),
    "drop": FloatDistribution(0, 0.5, step=0.1),
    "width": IntDistribution(2, 40, step=2),
}


def valley(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 10)
    y = trial.suggest_float("y", 0, 15)
    return (x - 3) ** 2 + (y - 2.2) ** 2


def mixed(trial: optuna.Trial) -> float:
    """Trials of every kind: every seventh fails, the high rates are pruned."""
    rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    rank = trial.suggest_int("rank", 4, 64, log=True)
    kind = trial.suggest_categorical("kind", ["a<b", None, True])
    rest = trial.suggest_float("drop", 0, 0.5, step=0.1) + trial.suggest_int(
        "width", 2, 40, step=2
    )
    if rate > 2e-3 and trial.number % 2:
        trial.report(-9.5, 1)
    if rate > 2e-3:
        raise optuna.TrialPruned
    if trial.number % 7 == 6:
        raise ArithmeticError
    return -abs(math.log10(rate) + 4) - abs(rank - 20) - (kind is None) - rest / 100


def run(
    objective: Callable[[optuna.Trial], float], n_trials: int, sampler: Any = None, **more: Any
) -> optuna.Study:
    study = optuna.create_study(sampler=sampler or SOOSampler(), **more)
    study.optimize(objective, n_trials=n_trials, catch=ArithmeticError)
    return study


def named(figure: Any, name: str) -> Any:
    return next((trace for trace in figure.data if trace.name == name), None)
