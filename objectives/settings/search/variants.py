"""Training settings that are searched: an entry of `[search]` -> Optuna's; imports no torch.

    [training]                                  [search]
    targets = "attention"                       targets = {choices = ["all-linear", "attention"]}
    loraplus_lr_ratio = 16                      loraplus_lr_ratio = {low = 1, high = 32}

Each value that may come is held to the rule that `[training]` has for the setting. A list of
module names is one choice; Optuna, whose choices are scalars, gets the names joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import TypeAdapter
from pydantic import ValidationError
from pydantic import ValidationInfo

from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.config_errors import rule_of
from objectives.settings.config_errors import suggestion
from objectives.settings.config_errors import toml
from objectives.settings.search.ranges import check_bounds
from objectives.settings.search.ranges import check_step
from objectives.settings.search.ranges import Range
from objectives.settings.sections.targets import JOINT
from objectives.settings.sections.training import TrainingSettings
from objectives.settings.strict import STRICT


__all__ = ["Alternatives", "Variant", "checked", "not_a_range"]


@dataclass(frozen=True)
class Alternatives:
    """The values of one searched setting.

    Attributes:
        choices: As Optuna gets them: truth values, numbers, or texts.
        prior: The one that is expected to be the best.
    """

    __pydantic_config__ = ConfigDict(strict=True)

    choices: tuple[bool | float | str, ...]
    prior: bool | float | str | None = None

    def distribution(self) -> BaseDistribution:
        """Optuna's."""
        return CategoricalDistribution(self.choices)


def _variant(value: object, info: ValidationInfo) -> object:
    name = info.field_name
    assert name is not None
    if value is None or isinstance(value, Alternatives | Range):
        return value
    if isinstance(value, dict) and "choices" in value and value.keys() <= {"choices", "prior"}:
        return _alternatives(name, value["choices"], value.get("prior"))
    if isinstance(value, dict) and _is_number(name):
        return _range(name, value)
    forms = "{low = ..., high = ...} or {choices = [...]}"
    rule = f"must be {forms if _is_number(name) else '{choices = [...]}'}"
    raise refuse(rule, f"a fixed one belongs under [training]: {name} = ...")


def _is_number(name: str) -> bool:
    return TrainingSettings.model_fields[name].annotation is float


def _alternatives(name: str, found: object, prior: object) -> Alternatives:
    values = found if isinstance(found, list) else []
    choices = [checked(name, value, "each of `choices` ") for value in values]
    if len(choices) < 2 or len(set(choices)) < len(choices):
        way_out = "add one, or fix it under [training]"
        raise refuse("must have at least two different `choices`", way_out)
    expected = None if prior is None else checked(name, prior, "`prior` ")
    if expected is not None and expected not in choices:
        raise refuse(f"`prior` = {toml(prior)} must be one of `choices`", "add or change it")
    return Alternatives(tuple(choices), expected)


def _range(name: str, value: dict[str, Any]) -> Range:
    try:
        found = Range.model_validate(value)
    except ValidationError as error:
        raise not_a_range(error) from None
    if found.integer is not None:
        raise refuse(f"`integer` cannot be set, {name} takes any number", "leave integer out")
    check_bounds(found, "fix it under [training]")
    check_step(found)
    for end in ("low", "high"):
        checked(name, getattr(found, end), f"`{end}` ")
    return found


def not_a_range(error: ValidationError) -> Exception:
    details = error.errors()[0]
    key = details["loc"][0]
    syntax = "write {low = ..., high = ...} or {choices = [...]}"
    if details["type"] == "missing":
        return refuse(f"`{key}` is missing", syntax)
    if details["type"] == "extra_forbidden":
        return refuse(f"there is no key `{key}`", near(str(key), Range.model_fields, "{}"))
    return refuse(f"`{key}` {rule_of(details)}", syntax)


def checked(name: str, value: object, where: str) -> Any:
    """The value as Optuna gets it, if `[training]` takes it; `where` begins the rule if not."""
    field = TrainingSettings.model_fields[name]
    annotated: Any = Annotated[(field.annotation, field)]
    try:
        checked = TypeAdapter(annotated, config=STRICT).validate_python(value)
    except ValidationError as error:
        raise refuse(f"{where}{rule_of(error.errors()[0])}", _way_out(name, error)) from None
    return JOINT.join(checked) if isinstance(checked, list) else checked


def _way_out(name: str, error: ValidationError) -> str:
    default = TrainingSettings.model_fields[name].default
    if isinstance(default, bool):
        return "write choices = [true, false]"
    return suggestion(error.errors()[0]) or f"the default is {toml(default)}"


Variant = Annotated[Alternatives | Range | None, BeforeValidator(_variant)]
