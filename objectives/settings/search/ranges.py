"""A range of numbers as an entry of `[search]`, and what must hold of any; imports no torch.

learning_rate = {low = 1e-5, high = 1e-2, log = true, prior = 4e-4}
learning_rate = {low = 1e-5, high = 1e-2, log = true, prior = {at = 4e-4, factor = 3}}
dropout = {low = 0.0, high = 0.5, prior = {at = 0.1, deviation = 0.05}}
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
import math
from typing import Annotated
from typing import Any
from typing import TypeAlias

from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import ConfigDict

from objectives.settings.config_errors import refuse
from objectives.settings.strict import STRICT


__all__ = ["Expectation", "Expected", "Range", "check_bounds", "check_step"]

_FORMS = "write a number, {at = ..., factor = ...} or {at = ..., deviation = ...}"


@dataclass(frozen=True)
class Expected:
    """The best is expected near a number.

    Attributes:
        at: The number.
        factor: By which the best may well be smaller or larger.
        deviation: By how much it may.
    """

    __pydantic_config__ = ConfigDict(strict=True)

    at: float
    factor: float | None = None
    deviation: float | None = None


def _read(value: object) -> object:
    if value is None or isinstance(value, Expected):
        return value
    given: dict[str, Any] = value if isinstance(value, dict) else {"at": value}
    if "at" not in given or not all(map(_is_number, given.values())):
        raise refuse("must be a finite number, or a table with one under `at`", _FORMS)
    if given.keys() - {"at", "factor", "deviation"} or len(given) > 2:
        raise refuse("must have `at`, and beside it one of `factor` and `deviation`", _FORMS)
    if given.get("factor", 2) <= 1:
        raise refuse("`factor` must be > 1", "for example factor = 3")
    if given.get("deviation", 1) <= 0:
        raise refuse("`deviation` must be > 0", "for example deviation = 0.05")
    if "factor" in given and given["at"] <= 0:
        raise refuse("`at` must be > 0 where there is a factor", "write deviation = ... instead")
    return Expected(**{name: float(number) for name, number in given.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


ExpectedValue = Annotated[Expected | None, BeforeValidator(_read)]
Expectation: TypeAlias = Expected | bool | float | str
"""What may be expected of a parameter: near which number the best is, or which choice it is."""


class Range(BaseModel):
    """Values between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Search the logarithm.
        step: Distance of neighbouring values; `high - low` is a multiple of it.
        integer: Whole numbers only; None means "as the hyperparameter is": rank, alpha and
            effective_batch are whole, and only alpha may be told otherwise.
        prior: Where the best value is expected.
    """

    model_config = STRICT

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool | None = None
    prior: ExpectedValue = None

    def distribution(self, *, integer: bool = False) -> FloatDistribution | IntDistribution:
        """Optuna's."""
        if integer:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return IntDistribution(low, high, log=self.log, step=step)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


def check_bounds(range_: Range, fixed: str = "write one number to fix it") -> None:
    """Refuses bounds with nothing between them, no logarithm or no prior; `fixed` is a way out."""
    if not range_.low < range_.high:
        raise refuse("`low < high` must hold", f"swap the bounds, or {fixed}")
    if range_.log and range_.low <= 0:
        raise refuse("`low > 0` must hold where `log = true`", "raise low or leave log out")
    if range_.prior is not None and not range_.low <= range_.prior.at <= range_.high:
        rule = f"`prior` = {range_.prior.at:g} must lie within {range_.low:g} to {range_.high:g}"
        raise refuse(rule, "widen the range or move the prior")


def check_step(range_: Range, *, integer: bool = False) -> None:
    """Refuses a step that does not lead from one bound to the other."""
    step = range_.step
    if step is None:
        return
    if range_.log:
        raise refuse("`step` and `log = true` exclude each other", "leave one of them out")
    if step <= 0 or (integer and not step.is_integer()):
        raise refuse("`step` must be a positive number of the same kind", "correct or omit it")
    # As decimals, as written: (0.5 - 0) / 0.1 is not whole in binary floats.
    if (Decimal(str(range_.high)) - Decimal(str(range_.low))) % Decimal(str(step)) != 0:
        raise refuse("`high - low` must be a multiple of `step`", "change high or step")
