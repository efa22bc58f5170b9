"""Mistakes in an experiment file -> one line each: key, value, rule, way out; no files."""

from __future__ import annotations

from collections.abc import Collection
import difflib
import json
import re
from types import NoneType
from typing import Any
from typing import get_args

from pydantic import BaseModel
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core import PydanticCustomError


__all__ = [
    "describe",
    "describe_option",
    "near",
    "refuse",
    "rule_of",
    "suggestion",
    "toml",
    "toml_key",
]

SETTING_SYNTAX = "write a number, {low = ..., high = ...} or {choices = [...]}"
SETTING_KEYS = ("low", "high", "log", "step", "integer", "choices", "prior")
SOURCE_SYNTAX = 'write for example {name = "rows.jsonl", weight = 0.5}'
SOURCE_KEYS = ("name", "config", "split", "revision", "weight")

# What pydantic's error types mean to the writer of a TOML file.
_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be > {gt:g}",
    "greater_than_equal": "must be >= {ge}",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le:g}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "string_type": "must be text in quotes",
    "too_short": "must not be empty",
}


def refuse(rule: str, way_out: str, **where: object) -> PydanticCustomError:
    """The error for a validator to raise.

    Args:
        rule: What must hold.
        way_out: What to write instead.
        **where: `key` and `value`, where a validator of a whole section blames one of its keys.
    """
    return PydanticCustomError("rule", "{text}", {"text": f"{rule}; {way_out}", **where})


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each mistake.

    Args:
        error: What `model.model_validate` raised.
        model: Its fields are the sections; their fields are the keys.
    """
    sections = {name: _section(field.annotation) for name, field in model.model_fields.items()}
    return list(dict.fromkeys(_line(details, sections) for details in error.errors()))


def _section(annotation: Any) -> Any:
    """The class of a section, also of one that may be None."""
    return next(each for each in get_args(annotation) or (annotation,) if each is not NoneType)


def describe_option(error: ValidationError, section: type[BaseModel]) -> str:
    """The first mistake as one of the command line, whose options are a section's keys."""
    details = error.errors()[0]
    blamed = details.get("ctx", {})  # by a validator of the whole section
    key = str(details["loc"][0] if details["loc"] else blamed["key"])
    option = "--study" if key == "name" else f"--{key.replace('_', '-')}"
    rule = _RULES.get(details["type"], details["msg"]).format(**details.get("ctx", {}))
    field = section.model_fields[key]
    example = (field.examples or [field.default])[0]
    value = details["input"] if details["loc"] else blamed["value"]
    shown = f"{value:g}" if isinstance(value, float) else value
    if details["type"] == "rule":  # it has its way out with it
        return f"{option} {shown}: {rule}"
    return f"{option} {shown}: {rule}; for example {option} {example}"


def _line(details: ErrorDetails, sections: dict[str, Any]) -> str:
    # pydantic's tags of sources begin so; they are not in the file
    section, *keys = (p for part in details["loc"] if not (p := str(part)).startswith(":"))
    if not keys and "key" not in details.get("ctx", {}):
        return _section_line(section, details, sections)
    if section == "search" and len(keys) > 1:
        del keys[1]  # pydantic's tag for number, range or choices; not in the file
    return f"[{section}] {_key_line(section, keys, details, sections)}"


def _section_line(section: str, details: ErrorDetails, sections: dict[str, Any]) -> str:
    match details["type"]:
        case "missing":
            return f"[{section}] is missing; add it with {_example(sections[section], None)}"
        case "rule":
            return f"[{section}]: {details['msg']}"
        case "extra_forbidden" if isinstance(details["input"], dict):
            return f"[{section}]: there is no such section; {near(section, sections, '[{}]')}"
        case "extra_forbidden":
            value = toml(details["input"])
            way_out = _elsewhere(section, sections) or "it belongs under a section such as [study]"
            return f"{section} = {value}: stands outside of all sections; {way_out}"
    value = toml(details["input"])
    return f"{section} = {value}: must be a section; write [{section}] and its keys below it"


def _key_line(
    section: str, keys: list[str], details: ErrorDetails, sections: dict[str, Any]
) -> str:
    context = details.get("ctx", {})
    key = ".".join(keys) or context["key"]
    value = toml(context.get("value", details["input"]))
    match details["type"]:
        case "rule":
            return f"{key} = {value}: {details['msg']}"
        case "missing" if len(keys) > 1:
            return f"{keys[0]} = {value}: `{keys[-1]}` is missing; {_syntax(section)}"
        case "missing":
            return f"{key} is missing; add {_example(sections[section], key)}"
        case "extra_forbidden" if len(keys) > 1:
            names = SOURCE_KEYS if section == "data" else SETTING_KEYS
            return f"{key} = {value}: there is no such key; {near(keys[-1], names, '{}')}"
        case "extra_forbidden":
            names = sections[section].model_fields
            way_out = _elsewhere(key, sections) or near(key, names, "{}")
            return f"{key} = {value}: there is no such key; {way_out}"
    way_out = suggestion(details) or _way_out(section, keys, sections)
    return f"{key} = {value}: {rule_of(details)}; {way_out}"


def rule_of(details: ErrorDetails) -> str:
    """What must hold; of a validator's own, without its way out."""
    if details["type"] == "rule":
        return details["msg"].partition("; ")[0]
    return _RULES.get(details["type"], details["msg"]).format(**details.get("ctx", {}))


def suggestion(details: ErrorDetails) -> str:
    """What might have been meant; empty where nothing is near, or a validator says it."""
    if details["type"] == "rule":
        return details["msg"].partition("; ")[2]
    literals = _literals(details.get("ctx", {}))
    return near(str(details["input"]), literals, '"{}"', otherwise="")


def _way_out(section: str, keys: list[str], sections: dict[str, Any]) -> str:
    if len(keys) > 1:
        return _syntax(section)
    field = sections[section].model_fields[keys[0]]
    if field.is_required() or field.examples:
        return f"for example {_example(sections[section], keys[0])}"
    if field.default is None:
        return "correct it or leave the key out"
    return f"for example {keys[0]} = {toml(field.default)}"


def _syntax(section: str) -> str:
    """Of a table within a section."""
    return SOURCE_SYNTAX if section == "data" else SETTING_SYNTAX


def _example(section: type[BaseModel], key: str | None) -> str:
    """An assignment to `key`, or to the section's first key that is required."""
    required = (name for name, field in section.model_fields.items() if field.is_required())
    key = key or next(required)
    return f"{key} = {toml((section.model_fields[key].examples or ['...'])[0])}"


def _elsewhere(key: str, sections: dict[str, Any]) -> str | None:
    owners = [name for name, section in sections.items() if key in section.model_fields]
    return f"it belongs under [{owners[0]}]" if owners else None


def _literals(context: dict[str, Any]) -> list[str]:
    return str(context.get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ")


def near(name: str, names: Collection[str], form: str, otherwise: str | None = None) -> str:
    """`did you mean ...?` for a name that is not there.

    Args:
        name: What was written.
        names: What there is.
        form: How a name is written, `{}` in the place of its letters.
        otherwise: What to say where nothing is near; by default all there is.
    """
    found = difflib.get_close_matches(name.lower(), list(names), n=1)
    if found:
        return f"did you mean {form.format(found[0])}?"
    return f"choose from {', '.join(names)}" if otherwise is None else otherwise


def toml(value: object) -> str:
    """`value` as one would write it in the file."""
    match value:
        case dict():
            return "{" + ", ".join(f"{toml_key(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(toml(v) for v in value) + "]"
        case bool() | str():
            return _quoted(value)
        case BaseModel():
            return toml(value.model_dump(exclude_defaults=True))
    return str(value)


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else _quoted(key)


def _quoted(value: bool | str) -> str:
    """As JSON, and DEL escaped, which TOML asks for."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
