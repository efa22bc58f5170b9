"""Schedulers of Syne Tune (Salinas et al. 2022) over our clock; imports it when made.

ASHA stops a training that is not among the best third at steps 1, 3, 9 and so on. BOHB draws by
kernel densities under the same rule, and ASHACQR (Salinas et al. 2023) by conformal quantiles.
"""

from __future__ import annotations

import datetime
import functools
import logging
import random
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Job


class SyneTuneEntrant:
    """One of its schedulers by the name of the class."""

    def __init__(self, name: str, curves: Curves, seed: int, budget: int, workers: int) -> None:
        from syne_tune.optimizer import baselines

        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        np.random.seed(seed)  # brackets and some searchers know no other
        random.seed(seed)
        assert curves.instance.space is not None
        space = {name: described(axis) for name, axis in curves.instance.space.items()}
        self._steps, self._begun = curves.steps, 0
        self._scheduler: Any = getattr(baselines, name)(
            space, metric="loss", time_attr="step", max_t=curves.steps, random_seed=seed
        )

    def ask(self) -> Job | None:
        from syne_tune.backend.trial_status import Trial

        suggested = self._scheduler.suggest()
        if suggested is None:
            return None
        trial = Trial(self._begun, suggested.config, datetime.datetime.min)
        self._begun += 1
        self._scheduler.on_trial_add(trial)
        return Job(dict(suggested.config), self._steps, trial)

    def report(self, job: Job, step: int, loss: float) -> bool:
        told: str = self._scheduler.on_trial_result(job.tag, {"loss": loss, "step": step})
        return told != "CONTINUE" and step < self._steps

    def end(self, job: Job, value: float | None) -> None:
        """It has had the last report already, which for it is the value."""


asha = functools.partial(SyneTuneEntrant, "ASHA")
bohb = functools.partial(SyneTuneEntrant, "BOHB")
ashacqr = functools.partial(SyneTuneEntrant, "ASHACQR")


def described(axis: BaseDistribution) -> Any:
    """Syne Tune's description of an axis."""
    from syne_tune import config_space

    match axis:
        case CategoricalDistribution():
            return config_space.choice(list(axis.choices))
        case IntDistribution():
            make = config_space.lograndint if axis.log else config_space.randint
            return make(axis.low, axis.high)
        case FloatDistribution():
            draw = config_space.loguniform if axis.log else config_space.uniform
            return draw(axis.low, axis.high)
    raise TypeError(f"A parameter is a float, an int or a choice, but one is {axis}.")
