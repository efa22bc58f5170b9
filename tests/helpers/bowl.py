"""One small study for the tests of the samplers: space, objective, points, and who searches it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from beliefs import Nearests
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.bamsoo_2014 import BaMSOO2014
from optuna_partition._rules.rule import Rule
from optuna_partition._study.ask import PartitionSampler


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-1, 2),
    "n": IntDistribution(0, 8),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
}


def bowl(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 2)
    n = trial.suggest_int("n", 0, 8)
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return (x - 0.3) ** 2 + abs(n - 5) / 8 + abs(lr - 0.001)


def new_study(**options: Any) -> optuna.Study:
    return optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE), **options))


def points(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


_MAKES = [SOOSampler, DIRECTSampler, partial(DIRECTSampler, locally_biased=False)]
_IDS = ["soo", "direct-l", "direct"]
every_sampler = pytest.mark.parametrize("make", _MAKES, ids=_IDS)
bamsoo_and_every_sampler = pytest.mark.parametrize(
    "make", [*_MAKES, partial(BaMSOOSampler, deterministic=True)], ids=[*_IDS, "bamsoo"]
)


# ---- who searches a space that is given, and trials that come from somewhere else ----


Space = dict[str, BaseDistribution]


def believing(rule: Rule[Any]) -> Callable[[Space], BaseSampler]:
    return lambda space: PartitionSampler(rule, search_space=space, seed=0)


OURS: dict[str, Callable[[Space], BaseSampler]] = {
    "soo": lambda space: SOOSampler(search_space=space),
    "direct-l": lambda space: DIRECTSampler(search_space=space),
    "direct": lambda space: DIRECTSampler(search_space=space, locally_biased=False),
    "bamsoo": believing(BaMSOO(Nearests())),
    "bamsoo-2014": believing(BaMSOO2014(Nearests(0.1), 0.05)),
}
SOURCES = {
    **OURS,
    "lhs": lambda space: LatinHypercubeSampler(n_trials=20, search_space=space, seed=0),
    "nomad": lambda space: NOMADSampler(search_space=space, seed=0),
    "tpe": lambda space: optuna.samplers.TPESampler(seed=0),
}
FINITE: Space = {"x": IntDistribution(0, 8), "y": IntDistribution(0, 5)}


def storage_of(kind: str, folder: Path) -> optuna.storages.BaseStorage:
    if kind == "sqlite":
        return optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
    if kind == "journal":
        return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal")))
    return optuna.storages.InMemoryStorage()


def coordinates(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [tuple(params[name] for name in sorted(params)) for params in points(study)]


def copied(trial: FrozenTrial, **changes: Any) -> FrozenTrial:
    kept = {
        "state": trial.state,
        "params": trial.params,
        "distributions": trial.distributions,
        "system_attrs": trial.system_attrs,
        "values": trial.values,
    }
    return create_trial(**{**kept, **changes})


def value(trial: optuna.Trial, space: Space) -> float:
    values = [trial._suggest(name, distribution) for name, distribution in space.items()]
    return round(sum(x if isinstance(x, int | float) else ord(x) for x in values) % 7, 1)
