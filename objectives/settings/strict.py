"""What all settings are made of: how strictly they are read, and numbers of a kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict
from pydantic import Field


__all__ = ["STRICT", "Count", "Seed"]

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
