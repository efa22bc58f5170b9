"""Where a trainer leaves a trial's value: a JSON file, trainer_state.json, or what it prints."""

from __future__ import annotations

import re
from typing import Annotated
from typing import Any

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field
from pydantic import ValidationError

from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.config_errors import rule_of
from objectives.settings.own.words import OUTPUT
from objectives.settings.own.words import placeholders
from objectives.settings.strict import STRICT


__all__ = ["JsonValue", "PrintedValue", "TrainerState", "Value"]

LINES = ".jsonl"
_FORMS = (
    'write {json = "{output}/results.json", key = "eval.loss"}, '
    '{trainer_state = "{output}", metric = "eval_loss"} or {pattern = "loss=([0-9.]+)"}'
)


def _own(path: str) -> str:
    if not path.startswith(f"{{{OUTPUT}}}"):
        raise refuse(
            "must begin with {output}, the trial's own folder",
            "a path that trials share would give one trial the value of another",
        )
    for name in placeholders([path]):
        if name != OUTPUT:
            raise refuse(
                f"must have no placeholder but {{output}}, and has {{{name}}}",
                "have the trainer write to the same name in each trial's folder",
            )
    return path


OwnPath = Annotated[str, AfterValidator(_own)]
Name = Annotated[str, Field(min_length=1)]


class JsonValue(BaseModel):
    """A number in a JSON file; of JSON lines the last one, and the others are on the way to it.

    Attributes:
        file: Begins with `{output}`; ends in `.jsonl` where each line is an object.
        key: Dotted path of the value.
        step: Dotted path of the step in a line; None counts the values.
    """

    model_config = STRICT

    file: OwnPath = Field(alias="json")
    key: Name
    step: Name | None = None

    @property
    def lines(self) -> bool:
        """Whether there are values on the way."""
        return self.file.endswith(LINES)

    name = property(lambda self: self.key)


class TrainerState(BaseModel):
    """The last value of a metric in the `log_history` of transformers' `trainer_state.json`.

    Attributes:
        folder: Begins with `{output}`; its newest checkpoint is looked into as well.
        metric: As it is called there.
    """

    model_config = STRICT

    folder: OwnPath = Field(alias="trainer_state")
    metric: Name

    name = property(lambda self: self.metric)


class PrintedValue(BaseModel):
    """The last match in what the trainer prints; the others are on the way to it.

    Attributes:
        pattern: Its group is the value, or the one that is called so: `(?P<value>...)`. A group
            `(?P<step>...)` is the step; without one the values are counted.
    """

    model_config = STRICT

    pattern: str

    name = property(lambda self: "value")


def _value(given: object) -> object:
    ways: dict[str, type[BaseModel]] = {
        "json": JsonValue,
        "trainer_state": TrainerState,
        "pattern": PrintedValue,
    }
    chosen = [way for way in ways if isinstance(given, dict) and way in given]
    if len(chosen) != 1:
        raise refuse(f"must have exactly one of {', '.join(ways)}", _FORMS)
    try:
        found = ways[chosen[0]].model_validate(given)
    except ValidationError as error:
        raise _mistake(error, ways[chosen[0]]) from None
    if isinstance(found, JsonValue) and found.step is not None and not found.lines:
        raise refuse(f"`step` is for files of lines, which end in {LINES}", "leave it out")
    if isinstance(found, PrintedValue):
        _check_pattern(found.pattern)
    return found


def _mistake(error: ValidationError, way: type[BaseModel]) -> Exception:
    details = error.errors()[0]
    key = str(details["loc"][0])
    keys = [field.alias or name for name, field in way.model_fields.items()]
    if details["type"] == "missing":
        return refuse(f"`{key}` is missing", f"it has {', '.join(keys)}")
    if details["type"] == "extra_forbidden":
        return refuse(f"there is no key `{key}`", near(key, keys, "{}"))
    way_out = details["msg"].partition("; ")[2] if details["type"] == "rule" else _FORMS
    return refuse(f"`{key}` {rule_of(details)}", way_out)


def _check_pattern(pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise refuse(f"`pattern` is no regular expression ({error})", "correct it") from None
    others = compiled.groups - ("step" in compiled.groupindex)
    if "value" not in compiled.groupindex and others != 1:
        raise refuse(
            f"`pattern` must have one group for the value, and has {others}",
            "write (?P<value>...) for it, and (?:...) for other brackets",
        )


Value: Any = Annotated[JsonValue | TrainerState | PrintedValue, BeforeValidator(_value)]
