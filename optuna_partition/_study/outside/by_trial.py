"""One of Optuna's samplers, its draws by trial: of what is in no partition, or of all."""

from __future__ import annotations

from typing import Any
from typing import final
from typing import Protocol
import zlib

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


__all__ = ["ByTrial", "name_of", "random_by_trial"]


class Make(Protocol):
    """One of Optuna's classes, which takes a seed."""

    __name__: str

    def __call__(self, *, seed: int) -> BaseSampler: ...


@final
class ByTrial(BaseSampler):
    """A sampler whose draws have a seed of their own, by trial and parameter.

    One stream of random numbers would begin anew with each process: workers with one seed would
    draw the same trials, and a study that is continued its first ones again.

    Args:
        make: The class of a sampler that keeps nothing from trial to trial but what is in these.
        seed: Varies all draws.
    """

    def __init__(self, make: Make, seed: int) -> None:
        self.make, self._seed = make, seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._of(trial, zlib.crc32(param_name.encode()))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial, *parameter: int) -> BaseSampler:
        entropy = self._seed, trial.number, *parameter
        (seed,) = np.random.SeedSequence(entropy).generate_state(1)
        return self.make(seed=int(seed))


def random_by_trial(seed: int | None) -> BaseSampler:
    """Random values: with a seed the same for a trial in every process, without one never."""
    return RandomSampler() if seed is None else ByTrial(RandomSampler, seed)


def name_of(sampler: BaseSampler) -> str:
    """What people know a sampler by."""
    return sampler.make.__name__ if isinstance(sampler, ByTrial) else type(sampler).__name__
