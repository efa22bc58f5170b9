"""`[search]` for a command: parameters of any name, as Optuna distributions; no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import model_validator
from pydantic import ValidationError

from objectives.settings.config_errors import refuse
from objectives.settings.own.words import CONFIG
from objectives.settings.own.words import OUTPUT
from objectives.settings.search.ranges import check_bounds
from objectives.settings.search.ranges import check_step
from objectives.settings.search.ranges import Expectation
from objectives.settings.search.ranges import Range
from objectives.settings.search.variants import not_a_range


__all__ = ["OwnSearch", "flat"]

LARGEST = 2**63
_FIXED = "a fixed value belongs into `[command] run` or the config"
_FORMS = "{low = ..., high = ...} or {choices = [...]}"


def flat(table: Any, before: str = "") -> Any:
    """By dotted path, if it is a table: without quotes, TOML makes one of `adapter.rank`."""
    if not isinstance(table, dict):
        return table
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


@dataclass(frozen=True)
class Searched:
    """A parameter.

    Attributes:
        distribution: Its values.
        prior: Where the best is expected.
    """

    distribution: BaseDistribution
    prior: Expectation | None = None


def _entry(value: object) -> object:
    if isinstance(value, Searched):
        return value
    if not isinstance(value, dict):
        raise refuse(f"must be {_FORMS}", _FIXED)
    if "choices" in value and value.keys() <= {"choices", "prior"}:
        return _choices(value["choices"], value.get("prior"))
    return _range(value)


def _choices(choices: object, prior: Any) -> Searched:
    if not isinstance(choices, list) or len(choices) < 2 or _repeated(choices):
        raise refuse("must have at least two different `choices`", f"add one; {_FIXED}")
    if not all(isinstance(each, bool | int | float | str) for each in choices):
        raise refuse("each of `choices` must be a number, a text, true or false", "correct it")
    if prior is not None and prior not in choices:
        raise refuse(f"`prior` = {prior} must be one of `choices`", "add or change it")
    return Searched(CategoricalDistribution(choices), prior)


def _repeated(choices: list[Any]) -> bool:
    return any(choice in choices[:i] for i, choice in enumerate(choices))


def _range(value: dict[str, Any]) -> Searched:
    """Bounds that are written as whole numbers hold whole numbers, unless told otherwise."""
    try:
        found = Range.model_validate(value)
    except ValidationError as error:
        raise not_a_range(error) from None
    numbers = [number for key, number in value.items() if key in ("low", "high", "step")]
    whole = all(float(number).is_integer() for number in numbers)
    integer = all(isinstance(n, int) for n in numbers) if found.integer is None else found.integer
    if integer and not whole:
        raise refuse("`low`, `high` and `step` must be whole numbers", "or leave integer out")
    if integer and max(abs(found.low), abs(found.high)) >= LARGEST:
        raise refuse("whole numbers must fit into 64 bits", "or write the bounds as 1.0 is")
    check_bounds(found, _FIXED)
    check_step(found, integer=integer)
    return Searched(found.distribution(integer=integer), found.prior)


class OwnSearch(BaseModel):
    """A range or choices for each parameter, by its placeholder or dotted path."""

    model_config = ConfigDict(extra="allow", frozen=True, arbitrary_types_allowed=True)

    __pydantic_extra__: dict[str, Annotated[Searched, BeforeValidator(_entry)]]

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, table: object) -> object:
        return flat(table)

    @model_validator(mode="after")
    def _something_is_searched(self) -> OwnSearch:
        if not self.distributions():
            raise refuse("no parameter is searched", "for example learning_rate = " + _FORMS)
        for name in (OUTPUT, CONFIG):
            if name in self.distributions():
                rule = f"{{{name}}} is filled by the command itself"
                raise refuse(rule, "call the parameter something else", key=name, value=name)
        return self

    def distributions(self) -> dict[str, BaseDistribution]:
        """The parameters in the order of the file."""
        return {name: entry.distribution for name, entry in self.__pydantic_extra__.items()}

    def prior(self) -> dict[str, Expectation]:
        """Where the best values are expected, of the parameters of which that is said."""
        entries = self.__pydantic_extra__.items()
        return {name: entry.prior for name, entry in entries if entry.prior is not None}
