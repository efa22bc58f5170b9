"""`[data]`: the rows, and how they become samples."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Annotated
from typing import Literal

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field
from pydantic import model_validator
from pydantic import ValidationInfo

from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.sections.sources import Sources
from objectives.settings.strict import Count
from objectives.settings.strict import Seed
from objectives.settings.strict import STRICT


__all__ = ["MOST_VALIDATION_ROWS", "PARTS", "DataSettings", "columns_in"]

MOST_VALIDATION_ROWS = 2000
"""Taken away from the training rows, unless the file says how many."""

PARTS = {
    "instruction": ("instruction", "input", "output", "system"),
    "messages": ("messages", "system", "tools"),
    "conversations": ("conversations", "system", "tools"),
    "completion": ("prompt", "completion", "system"),
    "text": ("text",),
    "preference": ("prompt", "chosen", "rejected", "system"),
}
"""The formats of rows, each with the parts that its rows have, or may have."""


def columns_in(template: str) -> list[str]:
    """The columns that a template names, in its order."""
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", template)))


def _template(value: str) -> str:
    if value in ("alpaca", "chat") or columns_in(value):
        return value
    raise refuse(
        'must be "alpaca", "chat", or a text with a column such as {instruction} in it',
        'write template = "alpaca"',
    )


def _chat_template(value: str, info: ValidationInfo) -> str:
    """A file's content, which the study keeps; what has a brace is the text itself."""
    if info.context is None or "{" in value:
        return value
    path: Path = info.context["folder"] / Path(value).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise refuse(
            f"cannot be read ({error})", "give a file of Jinja, or its text between three quotes"
        ) from None
    if "{" not in text:
        raise refuse("holds no Jinja, as of {{ messages }}", "give another file")
    return text


def _fields(value: object) -> object:
    known = list(dict.fromkeys(part for parts in PARTS.values() for part in parts))
    if not isinstance(value, dict) or not all(isinstance(v, str) and v for v in value.values()):
        raise refuse(
            "must name the columns of the data",
            'for example fields = {instruction = "question", output = "answer"}',
        )
    for part in value:
        if part not in known:
            raise refuse(f"no format has a part `{part}`", near(part, known, "{}"))
    if not any(set(value) <= set(parts) for parts in PARTS.values()):
        told = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in PARTS.items())
        raise refuse("no format has all of these parts", f"the formats have {told}")
    return value


class DataSettings(BaseModel):
    """`[data]`: rows, of which formats, and how they are written out and cut.

    Attributes:
        train: A file, a folder, a name on the hub, or several; see `SourceSettings`.
        validation: The same; None takes validation_rows of the training rows away instead.
        validation_rows: Rows; where validation is None, and not in a file beside it. None is
            2,000, or a fifth of the rows where that is less.
        split_seed: Which rows that are, and in which order limits take them.
        format: What a row is; "auto" sees it in the columns.
        fields: The columns that hold the parts of a format, where they have other names.
        template: Of instructions, all that stands before the answer: "alpaca", a text with
            {instruction} or other columns, or "chat", the tokenizer's chat template.
        chat_template: In the place of the tokenizer's: a file of Jinja, or its text.
        system: The system turn of conversations that have none.
        mask_prompt: The loss counts the answers' tokens only. None is false for instructions that
            a template writes out, and true for all others; of a text all counts.
        max_length: Tokens per sample; the rest is cut off.
        limit: Training rows used, a random subset; a smaller limit's is part of a larger's.
        share: Of these, the part that is learned from; a smaller share is part of a larger.
        validation_limit: The same for validation rows.
    """

    model_config = STRICT

    train: Sources = Field(examples=["yahma/alpaca-cleaned"])
    validation: Sources | None = None
    validation_rows: Count | None = None
    split_seed: Seed = 42
    format: Literal[
        "auto",
        "instruction",
        "messages",
        "conversations",
        "completion",
        "text",
        "preference",
    ] = "auto"
    fields: Annotated[dict[str, str], BeforeValidator(_fields)] = {}
    template: Annotated[str, AfterValidator(_template)] = "alpaca"
    chat_template: Annotated[str, Field(min_length=1), AfterValidator(_chat_template)] | None = (
        None
    )
    system: Annotated[str, Field(min_length=1)] | None = None
    mask_prompt: bool | None = None
    max_length: int = Field(default=512, ge=2)
    limit: Count | None = None
    share: float = Field(default=1.0, gt=0, le=1)
    validation_limit: Count | None = None

    @property
    def own_template(self) -> bool:
        """Whether a text of the user's stands before the answers."""
        return self.template not in ("alpaca", "chat")

    @model_validator(mode="after")
    def _validated_once(self, info: ValidationInfo) -> DataSettings:
        of_file = info.context is not None  # settings that are passed on have every key
        if of_file and self.validation is not None and "validation_rows" in self.model_fields_set:
            raise refuse(
                "takes validation rows from the training rows, and `validation` names others",
                "leave one of the two out (validation_limit takes a part of the others)",
                key="validation_rows",
                value=self.validation_rows,
            )
        return self

    @model_validator(mode="after")
    def _of_the_format(self) -> DataSettings:
        if self.format == "auto":
            return self
        parts = PARTS[self.format]
        if not set(self.fields) <= set(parts):
            raise refuse(
                f'format = "{self.format}" has the parts {", ".join(parts)}',
                "name those, or another format",
                key="fields",
                value=self.fields,
            )
        for key, rule, way_out in self.unused(self.format, is_chat=None):
            raise refuse(rule, way_out, key=key, value=getattr(self, key))
        return self

    def unused(self, form: str, is_chat: bool | None) -> list[tuple[str, str, str]]:
        """The keys that say nothing about rows of a format: each with the rule and a way out.

        Args:
            form: The format.
            is_chat: Whether a chat template writes the rows out; None where that is not known.
        """
        found = []
        if self.own_template and form != "instruction":
            rule = f"stands before the answers of instructions, and the rows are of {form}"
            found.append(("template", rule, 'leave it out, or set format = "instruction"'))
        if self.template == "chat" and form == "text":
            rule = "makes chats of rows with an answer, and the rows are texts"
            found.append(("template", rule, "leave it out"))
        if is_chat is None and form in ("instruction", "text"):
            is_chat = form == "instruction" and self.template == "chat"
        if is_chat is False:
            way_out = {
                "text": "leave it out",
                "instruction": 'set template = "chat", or leave it out',
                "completion": 'set template = "chat", or leave it out',
            }.get(form, "leave it out")
            for key in ("system", "chat_template"):
                if getattr(self, key) is not None:
                    rule = f"is for chats, and rows of {form} are written out as texts"
                    found.append((key, rule, way_out))
        if self.mask_prompt is True and form == "text":
            found.append(
                (
                    "mask_prompt",
                    "is for rows with an answer, and a text is all of it",
                    "leave it out",
                )
            )
        if self.mask_prompt is False and form == "preference":
            found.append(
                ("mask_prompt", "preferences are of answers, which alone count", "leave it out")
            )
        return found
