"""Kinds of LoRA adapter as settings, searched or fixed: modules, rsLoRA, DoRA; imports no torch.

    [training]                                  [search]
    targets = "attention"                       targets = {choices = ["all-linear", "attention"]}
    dora = true                                 dora = {choices = [true, false]}

A list of module names is one choice; Optuna, whose choices are scalars, gets the names joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated
from typing import Any

from optuna.distributions import CategoricalDistribution
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import ValidationInfo

from objectives.settings.config_errors import refuse


__all__ = [
    "ALL_LINEAR",
    "GROUPS",
    "JOINT",
    "VARIANTS",
    "Alternatives",
    "TargetAlternatives",
    "Targets",
    "SwitchAlternatives",
]

ALL_LINEAR = "all-linear"
GROUPS = (ALL_LINEAR, "attention", "mlp")
"""Names that `objectives.model.targets` knows for modules of any base."""
JOINT = "+"
"""Between the module names of one choice: "q_proj+v_proj"."""
VARIANTS = ("targets", "rslora", "dora")
"""Searched after the hyperparameters that are numbers, in this order."""


@dataclass(frozen=True)
class Alternatives:
    """The values of one searched variant.

    Attributes:
        choices: As Optuna gets them: truth values, or texts.
    """

    __pydantic_config__ = ConfigDict(strict=True)

    choices: tuple[bool | str, ...]

    def distribution(self) -> CategoricalDistribution:
        """Optuna's."""
        return CategoricalDistribution(self.choices)


def _targets(value: object) -> object:
    if value in GROUPS or _are_names(value):
        return value
    example = 'for example targets = ["q_proj", "v_proj"]'
    raise refuse(f"must be {_groups()} or a list of module names", example)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(n, str) and n for n in value)


def _groups() -> str:
    return ", ".join(f'"{group}"' for group in GROUPS)


def _alternatives(value: object, info: ValidationInfo, *, read: Any) -> object:
    if value is None or isinstance(value, Alternatives):
        return value
    if not (isinstance(value, dict) and set(value) == {"choices"}):
        fixed = f"a fixed one belongs under [training]: {info.field_name} = ..."
        raise refuse("must be {choices = [...]}", fixed)
    found = value["choices"]
    choices = [read(choice) for choice in found] if isinstance(found, list) else []
    if len(choices) < 2 or len(set(choices)) < len(choices):
        way_out = "add one, or fix it under [training]"
        raise refuse("must have at least two different `choices`", way_out)
    return Alternatives(tuple(choices))


def _joined(choice: object) -> str:
    if isinstance(choice, str) and choice in GROUPS:
        return choice
    if isinstance(choice, list) and _are_names(choice):
        return JOINT.join(choice)
    rule = f"each of `choices` must be {_groups()} or a list of module names"
    raise refuse(rule, 'for example [["q_proj", "v_proj"], "all-linear"]')


def _switch(choice: object) -> bool:
    if isinstance(choice, bool):
        return choice
    raise refuse("each of `choices` must be true or false", "write choices = [true, false]")


Targets = Annotated[str | list[str], BeforeValidator(_targets)]
TargetAlternatives = Annotated[
    Alternatives | None, BeforeValidator(partial(_alternatives, read=_joined))
]
SwitchAlternatives = Annotated[
    Alternatives | None, BeforeValidator(partial(_alternatives, read=_switch))
]
