"""Objectives whose parameters depend on the values of others: three, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
import math
import random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition import SOOSampler


def optimizer(trial: optuna.Trial) -> float:
    """Two choices have the same parameters behind them, and one range of two."""
    name = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    if name == "sgd":
        rate, own = trial.suggest_float("rate", 1e-3, 1, log=True), 0.0
        own = trial.suggest_float("momentum", 0, 1)
    else:
        rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
        own = trial.suggest_float("beta", 0.8, 1)
    batch = trial.suggest_categorical("batch", [8, 16])
    return abs(math.log10(rate) + 2.7) + own + batch / 100 + (name == "adam")


def layers(trial: optuna.Trial) -> float:
    """Integers, one of many values, decide on as many others."""
    n = trial.suggest_int("n", 1, 40)
    activation = trial.suggest_categorical("activation", ["relu", "tanh"])
    widths = [trial.suggest_int(f"width{i}", 4, 64, log=True) for i in range(min(n, 3))]
    return abs(n - 12) + sum(abs(w - 20) for w in widths) / 9 + (activation == "relu")


def nested(trial: optuna.Trial) -> float:
    shared = trial.suggest_float("shared", 0, 1)
    if trial.suggest_categorical("outer", ["a", "b"]) == "a":
        return shared + 1
    inner = trial.suggest_categorical("inner", ["x", "y"])
    return shared + abs(trial.suggest_float(inner, 0, 1) - 0.8)


# ---- random spaces ----


Params = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter, and those that are suggested behind some of its values."""

    name: str
    distribution: BaseDistribution
    behind: dict[Any, list[Parameter]] = field(default_factory=dict)

    def suggest(self, trial: optuna.Trial) -> Params:
        found = {self.name: trial._suggest(self.name, self.distribution)}
        for parameter in self.behind.get(found[self.name], ()):
            found |= parameter.suggest(trial)
        return found

    def size(self) -> float:
        """How many ways there are to suggest it and all behind it."""
        if isinstance(self.distribution, FloatDistribution):
            return math.inf
        return sum(size(self.behind.get(value, [])) for value in values(self.distribution))


def values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution)
    return list(range(distribution.low, distribution.high + 1))


def size(parameters: list[Parameter]) -> float:
    return math.prod(parameter.size() for parameter in parameters)


def random_parameters(chance: random.Random, finite: bool) -> list[Parameter]:
    """A space of some parameters, of 60 points at most if it is to be finite."""
    while True:
        found = parameters_behind(chance, finite, "p", depth=2)
        if not finite or size(found) <= 60:
            return found


def parameters_behind(
    chance: random.Random, finite: bool, prefix: str, depth: int
) -> list[Parameter]:
    found = []
    for i in range(chance.randint(1, 2 if finite else 3)):
        name = f"{prefix}{i}"
        kind = chance.choice(["choice", "int"] if finite else ["choice", "int", "float", "log"])
        if kind == "float":
            found.append(Parameter(name, FloatDistribution(-1, 2)))
            continue
        if kind == "log":
            found.append(Parameter(name, FloatDistribution(1e-4, 1e-1, log=True)))
            continue
        distribution: BaseDistribution = IntDistribution(1, chance.randint(2, 4))
        if kind == "choice":
            distribution = CategoricalDistribution(list("abc")[: chance.randint(2, 3)])
        behind = {
            value: parameters_behind(chance, finite, f"{name}{value}_", depth - 1)
            for value in values(distribution)
            if depth and chance.random() < 0.5
        }
        found.append(Parameter(name, distribution, behind))
    return found


def suggest(trial: optuna.Trial, parameters: list[Parameter]) -> Params:
    found: Params = {}
    for parameter in parameters:
        found |= parameter.suggest(trial)
    return found


def value(params: Params) -> float:
    """Some landscape, the same in every process."""
    return round(sum(random.Random(f"{name} {x}").random() for name, x in params.items()), 2)


def place(trial: optuna.Trial | optuna.trial.FrozenTrial) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(trial.params.items()))


def searched(objective: Callable[[optuna.Trial], float], n: int) -> optuna.Study:
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(objective, n_trials=n)
    return study
