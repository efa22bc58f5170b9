"""What is compared on: an instance, a frozen value. Touches only Optuna's trial interface."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import math
import random
from typing import Any
from typing import Protocol

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


Params = dict[str, Any]
Space = dict[str, BaseDistribution]
Constraints = Callable[[Params], dict[str, float]]
Noise = Callable[[Params, float, random.Random], float]


class Suggests(Protocol):
    """The part of Optuna's trial that an instance asks."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


class NotAvailable(Exception):
    """A family or a sampler that cannot be used here, and why; the comparison goes on without."""


@dataclass(frozen=True)
class Instance:
    """One problem with one random shift, to be minimised.

    Args:
        family: The family it belongs to.
        name: The problem's name within the family.
        shift: The seed of its random shift: 0, 1, 2 are for tuning, 1000 and above for the table.
        value: The noise-free value of an assignment; NaN where an evaluation fails.
        space: Its search space, or None where the space depends on what was suggested before.
        suggest: Asks a trial for an assignment; from `space` where that is given.
        least: The global minimum, None if nobody knows it.
        best: An assignment that attains `least`, None if nobody knows it.
        noise: What a sampler is told: from the assignment, its value and a source of chance.
        constraints: From an assignment to constraints by name; at most 0 is feasible.
        reference: Evaluations of the long random search that regret is relative to.
    """

    family: str
    name: str
    shift: int
    value: Callable[[Params], float]
    space: Space | None = None
    suggest: Callable[[Suggests], Params] | None = None
    least: float | None = None
    best: Params | None = None
    noise: Noise | None = None
    constraints: Constraints | None = None
    reference: int = 20_000

    def ask(self, trial: Suggests) -> Params:
        """The assignment that the trial's sampler suggests."""
        if self.suggest is not None:
            return self.suggest(trial)
        assert self.space is not None, "an instance has a space or a way to suggest"
        return {name: suggested(trial, name, axis) for name, axis in self.space.items()}

    def constrained(self, params: Params) -> dict[str, float]:
        """The constraints of an assignment, none where the instance has none."""
        return {} if self.constraints is None else self.constraints(params)

    def counted(self, params: Params) -> float:
        """The noise-free value as results have it: infinite where it is infeasible or none."""
        value = self.value(params)
        feasible = all(x <= 0 for x in self.constrained(params).values())
        return value if feasible and not math.isnan(value) else math.inf

    def told(self, params: Params, value: float, seed: int, index: int) -> float:
        """What the evaluation `index` of the run `seed` reports: the same at every call."""
        if self.noise is None:
            return value
        chance = random.Random(f"{self.family} {self.name} {self.shift} {seed} {index}")
        return self.noise(params, value, chance)


def suggested(trial: Suggests, name: str, axis: BaseDistribution) -> Any:
    """The trial's value of one parameter, through the public `suggest` methods."""
    match axis:
        case FloatDistribution():
            return trial.suggest_float(name, axis.low, axis.high, step=axis.step, log=axis.log)
        case IntDistribution():
            return trial.suggest_int(name, axis.low, axis.high, step=axis.step, log=axis.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(name, axis.choices)
    raise TypeError(f"A parameter is a float, an int or a choice, but `{name}` is {axis}.")
