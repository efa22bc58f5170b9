"""Which modules get an adapter, as a setting: a group, or a list of names; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from objectives.settings.config_errors import refuse


__all__ = ["ALL_LINEAR", "GROUPS", "JOINT", "Targets"]

ALL_LINEAR = "all-linear"
GROUPS = (ALL_LINEAR, "attention", "mlp")
"""Names that `objectives.model.targets` knows for modules of any base."""
JOINT = "+"
"""Between the module names of one choice that is searched: "q_proj+v_proj"."""


def _targets(value: object) -> object:
    if value in GROUPS or _are_names(value):
        return value
    groups = ", ".join(f'"{group}"' for group in GROUPS)
    example = 'for example targets = ["q_proj", "v_proj"]'
    raise refuse(f"must be {groups} or a list of module names", example)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(n, str) and n for n in value)


Targets = Annotated[str | list[str], BeforeValidator(_targets)]
