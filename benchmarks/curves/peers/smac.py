"""SMAC's multi-fidelity facade (Lindauer et al. 2022), asked and told; imports it when made."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Job


class SMACEntrant:
    """Hyperband with a random forest, its budgets rounded to steps."""

    def __init__(self, curves: Curves, seed: int, budget: int, workers: int) -> None:
        from ConfigSpace import ConfigurationSpace
        from smac import MultiFidelityFacade
        from smac import Scenario

        assert curves.instance.space is not None
        space = ConfigurationSpace(seed=seed)
        space.add([described(name, axis) for name, axis in curves.instance.space.items()])
        self._steps = curves.steps
        self._folder = tempfile.TemporaryDirectory()  # it writes down what it found
        scenario = Scenario(
            space,
            output_directory=Path(self._folder.name),
            deterministic=True,
            n_trials=2 * budget,
            min_budget=1,
            max_budget=curves.steps,
            seed=seed,
        )
        self._smac: Any = MultiFidelityFacade(
            scenario, lambda config, seed, budget: 0.0, overwrite=True, logging_level=50
        )

    def ask(self) -> Job | None:
        try:
            told = self._smac.ask()
        except StopIteration:
            return None
        until = min(max(round(told.budget), 1), self._steps)
        return Job({name: _plain(x) for name, x in dict(told.config).items()}, until, told)

    def report(self, job: Job, step: int, loss: float) -> bool:
        return False

    def end(self, job: Job, value: float | None) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self._smac.tell(job.tag, TrialValue(cost=value, time=float(job.until)), save=False)


def described(name: str, axis: BaseDistribution) -> Any:
    """ConfigSpace's description of an axis."""
    import ConfigSpace

    match axis:
        case CategoricalDistribution():
            return ConfigSpace.Categorical(name, list(axis.choices))
        case IntDistribution():
            return ConfigSpace.Integer(name, (axis.low, axis.high), log=axis.log)
        case FloatDistribution():
            return ConfigSpace.Float(name, (axis.low, axis.high), log=axis.log)
    raise TypeError(f"A parameter is a float, an int or a choice, but `{name}` is {axis}.")


def _plain(value: Any) -> Any:
    """Python's number instead of NumPy's."""
    return value.item() if hasattr(value, "item") else value
