"""Samplers that draw, with numbers of each trial's own; reads the study through them only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import final
from typing import Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


__all__ = ["DrawnPerTrial"]


class Make(Protocol):
    """Gives the sampler for a seed."""

    def __call__(self, *, seed: int) -> BaseSampler: ...


@final
class DrawnPerTrial(BaseSampler):
    """A sampler whose numbers depend on the seed and the trial's number, and on no process.

    Workers with one seed would otherwise draw the same trials, and a study that is continued its
    first ones again. Trials may be asked for together, as those of a pack are. For one study, and
    for samplers that keep nothing from trial to trial but what is in it.

    Args:
        make: A sampler's class, which takes a seed.
        seed: Of the study.
    """

    def __init__(self, make: Make, seed: int) -> None:
        self._make, self._seed = make, seed
        self._drawing: dict[int, BaseSampler] = {}  # by the number of a trial that runs

    def reseed_rng(self) -> None:
        """Nothing to do: a thread's trials are its own."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

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
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)
        del self._drawing[trial.number]

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._drawing:
            (seed,) = np.random.SeedSequence((self._seed, trial.number)).generate_state(1)
            self._drawing[trial.number] = self._make(seed=int(seed))
        return self._drawing[trial.number]
