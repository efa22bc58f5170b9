"""Where rows come from: a file, a folder, a name on the hub, or several of them; no row is read.

train = "rows.jsonl"
train = {name = "HuggingFaceH4/ultrachat_200k", split = "train_sft"}
train = ["rows.jsonl", {name = "more.parquet", weight = 0.3}]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Discriminator
from pydantic import Field
from pydantic import model_validator
from pydantic import Tag
from pydantic import ValidationInfo

from objectives.settings.config_errors import refuse
from objectives.settings.sections.paths import portable
from objectives.settings.sections.paths import rows_or_hub
from objectives.settings.strict import STRICT


__all__ = ["SourceSettings", "Sources", "in_words", "on_hub", "shown", "sources_of"]

Place = Annotated[str, Field(min_length=1), AfterValidator(rows_or_hub)]


class SourceSettings(BaseModel):
    """One of the places that rows come from.

    Attributes:
        name: A file, a folder of files, or a name on the hub.
        config: Of a data set on the hub that has several.
        split: Of a folder or a data set on the hub; None is "train" for training rows, and
            "validation" for the others.
        revision: Branch, tag or commit on the hub.
        weight: How often its rows are taken: 0.3 is a random part of them, 2 is each twice.
    """

    model_config = STRICT

    name: Place = Field(examples=["org/data"])
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _of_a_file(self, info: ValidationInfo) -> SourceSettings:
        if info.context is None or not Path(self.name).is_absolute():
            return self
        of_folder = Path(self.name).is_dir()
        for key in ("config", "revision", *(() if of_folder else ("split",))):
            if getattr(self, key) is not None:
                kind = "folder" if of_folder else "file"
                raise refuse(
                    f"has `{key}`, which is for names on the hub, and this is a {kind}",
                    "leave it out",
                )
        return self


def _tag(value: object) -> str:
    """The tags stand in the places of pydantic's errors, which are told without them."""
    return ":table" if isinstance(value, dict | SourceSettings) else ":name"


def _tag_of_all(value: object) -> str:
    return ":list" if isinstance(value, list) else _tag(value)


_Named = Annotated[Place, Tag(":name")]
_Table = Annotated[SourceSettings, Tag(":table")]
_One = Annotated[_Named | _Table, Discriminator(_tag)]
_List = Annotated[list[_One], Field(min_length=1), Tag(":list")]

Sources = Annotated[_Named | _Table | _List, Discriminator(_tag_of_all)]


def sources_of(given: str | SourceSettings | list[str | SourceSettings]) -> list[SourceSettings]:
    """All of them in the long form."""
    listed = given if isinstance(given, list) else [given]
    return [SourceSettings(name=each) if isinstance(each, str) else each for each in listed]


def in_words(given: str | SourceSettings | list[str | SourceSettings]) -> str:
    """The sources as a study keeps them and people read them, without paths of this machine."""
    return " + ".join(map(_in_words, sources_of(given)))


def _in_words(source: SourceSettings) -> str:
    more = source.model_dump(exclude={"name"}, exclude_defaults=True)
    told = ", ".join(f"{key} {value}" for key, value in more.items())
    return portable(source.name) + (f" ({told})" if told else "")


def shown(given: str | SourceSettings | list[str | SourceSettings]) -> str:
    """The sources for the eyes of who named them."""
    return given if isinstance(given, str) else in_words(given)


def on_hub(given: str | SourceSettings | list[str | SourceSettings]) -> list[str]:
    """The names among them that are the hub's."""
    names = [source.name for source in sources_of(given)]
    return [name for name in names if portable(name) == name]
