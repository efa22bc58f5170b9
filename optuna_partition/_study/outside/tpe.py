"""Parameters that are in no partition and have no model yet: Optuna's TPE, trial by trial."""

from __future__ import annotations

from typing import Any
from typing import final
import zlib

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial


__all__ = ["TPEByTrial"]


@final
class TPEByTrial(BaseSampler):
    """TPE whose draws have a seed of their own, by trial and parameter.

    One stream of random numbers would begin anew with each process, so that a study that was
    interrupted would have the same values twice.

    Args:
        seed: Varies all draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        entropy = self._seed, trial.number, zlib.crc32(param_name.encode())
        (seed,) = np.random.SeedSequence(entropy).generate_state(1)
        tpe = TPESampler(seed=int(seed))
        return tpe.sample_independent(study, trial, param_name, param_distribution)
