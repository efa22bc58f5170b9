"""`[proxy]`: the cheaper experiment that is searched first; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Field
from pydantic import model_validator

from objectives.settings.config_errors import refuse
from objectives.settings.sections.paths import folder_or_hub
from objectives.settings.strict import Count
from objectives.settings.strict import STRICT


__all__ = ["ProxySettings"]


class ProxySettings(BaseModel):
    """`[proxy]`: what is searched first, in a study of its own.

    Attributes:
        share: Of the training rows.
        model: Another base, a folder or a name on the hub; None is the same.
        trials: Finished trials of that study; None is as many as of the other.
    """

    model_config = STRICT

    share: float = Field(default=1.0, gt=0, le=1, examples=[0.1])
    model: Annotated[str, Field(min_length=1), AfterValidator(folder_or_hub)] | None = None
    trials: Count | None = None

    @property
    def in_words(self) -> str:
        """What is smaller."""
        parts = [f"on {self.share:g} of the rows"] if self.share < 1 else []
        return " ".join([*parts, *([] if self.model is None else [f"with the base {self.model}"])])

    @model_validator(mode="after")
    def _is_cheaper(self) -> ProxySettings:
        if self.share == 1 and self.model is None:
            raise refuse(
                "must be less than 1 where the base is the same",
                "for example share = 0.1, or name a smaller model",
                key="share",
                value=self.share,
            )
        return self
