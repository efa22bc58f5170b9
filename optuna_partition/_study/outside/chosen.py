"""What samplers of parameters in no partition share: several are chosen at once, and kept."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
import threading
from typing import Any
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._study.optuna import id_of
from optuna_partition._study.optuna import TrialIdentity


__all__ = ["Chosen", "chosen_of", "OutsideSampler"]

Chosen: TypeAlias = dict[str, tuple[BaseDistribution, Any]]
"""What a trial is to suggest yet: name -> as what, and the value."""


def chosen_of(distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]) -> Chosen:
    """The parameters of a point."""
    return {name: (distribution, params[name]) for name, distribution in distributions.items()}


class OutsideSampler(BaseSampler, ABC):
    """Chooses parameters when the first of them is suggested, and keeps the others for later.

    Args:
        fallback: Samples where nothing can be chosen.
    """

    def __init__(self, fallback: BaseSampler) -> None:
        self._fallback = fallback
        self._forget()

    def _forget(self) -> None:
        """Drops what is no setting: what is chosen, and caches."""
        self._chosen: dict[TrialIdentity, Chosen] = {}
        self._lock = threading.RLock()

    @abstractmethod
    def _choose(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Chosen:
        """A parameter and those that come with it; nothing where the fallback is to sample."""

    @abstractmethod
    def __getstate__(self) -> dict[str, Any]:
        """The settings."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def reseed_rng(self) -> None:
        self._fallback.reseed_rng()

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
        key = param_name, param_distribution
        with self._lock:
            chosen = self._chosen.setdefault(id_of(study, trial), {})
            distribution, value = chosen.pop(param_name, (None, None))
            if distribution != param_distribution:
                chosen |= self._choose(study, trial, *key)
                distribution, value = chosen.pop(param_name, (None, None))
            if distribution is not None:
                return value
        return self._fallback.sample_independent(study, trial, *key)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._fallback.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._chosen.pop(id_of(study, trial), None)
        self._fallback.after_trial(study, trial, state, values)
