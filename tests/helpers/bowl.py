"""One small study for the tests of the samplers: its space, its objective, its points."""

from __future__ import annotations

from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


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
