"""Everything that is known before the first trial of a study, as the ask takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from optuna.distributions import BaseDistribution

from optuna_partition._known.features import Features
from optuna_partition._known.previous import Previous
from optuna_partition._known.prior import Along
from optuna_partition._known.prior import Priors
from optuna_partition._rules.source import Knowledge
from optuna_partition._space.values import is_single


__all__ = ["Known"]


@final
@dataclass(frozen=True)
class Known:
    """What somebody expects, what earlier studies found, and what belongs together."""

    prior: Priors
    previous: Previous
    features: Features

    def __call__(self, distributions: Mapping[str, BaseDistribution]) -> Knowledge:
        sources = (*self.prior(distributions), *self.previous(distributions))
        return Knowledge(sources, self.features(distributions))

    def best_guess(self, name: str, distribution: BaseDistribution) -> float | None:
        """The prior's centre, else where the best of the earlier trials with the name is.

        Nothing of a parameter that is fixed.

        Raises:
            ValueError: The parameter cannot be in the product that it is in.
        """
        if is_single(distribution):
            return None
        self.features.check(name, distribution)
        along = self.prior.along(name, distribution)
        if along != Along():
            return along.centre
        return self.previous.best(name, distribution)
