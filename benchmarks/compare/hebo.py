"""HEBO (Cowen-Rivers et al. 2022) as an Optuna sampler: asked and told; imports HEBO when made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from benchmarks.compare.instance import Space
from benchmarks.compare.unit import at


class HEBOSampler(BaseSampler):
    """One suggestion at a time; trials that run are not told to it."""

    def __init__(self, space: Space, seed: int) -> None:
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        self._space = {name: axis for name, axis in space.items() if not axis.single()}
        np.random.seed(seed)  # its acquisition's optimiser knows no other
        design = DesignSpace().parse([described(n, a) for n, a in self._space.items()])
        self._hebo = HEBO(design, scramble_seed=seed)
        self._suggested: dict[int, Any] = {}  # by trial, as HEBO wants it back
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Space
    ) -> dict[str, Any]:
        suggested = self._hebo.suggest(n_suggestions=1)
        self._suggested[trial.number] = suggested
        row = suggested.iloc[0]
        return {name: value(axis, row[name]) for name, axis in self._space.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, axis: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, name, axis)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        suggested = self._suggested.pop(trial.number)
        if values:
            self._hebo.observe(suggested, np.array([values]))


def described(name: str, axis: BaseDistribution) -> dict[str, Any]:
    """HEBO's description: choices and plain ints by their index, all else in the unit interval."""
    if isinstance(axis, CategoricalDistribution):
        return {"name": name, "type": "cat", "categories": list(range(len(axis.choices)))}
    if isinstance(axis, IntDistribution) and not axis.log:
        return {"name": name, "type": "int", "lb": 0, "ub": (axis.high - axis.low) // axis.step}
    return {"name": name, "type": "num", "lb": 0.0, "ub": 1.0}


def value(axis: BaseDistribution, suggested: Any) -> Any:
    """The parameter's value from what HEBO suggests for it."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[int(suggested)]
    if isinstance(axis, IntDistribution) and not axis.log:
        return axis.low + axis.step * int(suggested)
    return at(axis, float(suggested))
