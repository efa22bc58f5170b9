"""The rows of a source, checked: each a format's parts, by name; what is left out is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import json
from typing import Any

from objectives.data.reading.columns import Layout
from objectives.data.reading.columns import layout_of
from objectives.data.reading.sources import numbered_rows
from objectives.data.reading.turns import is_turns
from objectives.data.reading.turns import ROLES
from objectives.data.reading.turns import turns_of
from objectives.errors import UserError
from objectives.settings.sections.data import columns_in
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.sources import SourceSettings


__all__ = ["Row", "Rows", "load_rows"]

Row = dict[str, Any]
"""Parts of a format to texts, or to lists of turns."""

FIELDS = ("instruction", "input", "output")
ANSWERS = ("prompt", "completion", "chosen")
ONE_KIND = ("completion", "chosen", "rejected")
NO_ANSWER = "have no turn of the assistant's, from which nothing can be learned"


@dataclass(frozen=True)
class Rows:
    """A data set.

    Attributes:
        source: Where it is.
        layout: How it was read.
        rows: Each with the parts of its format.
        numbers: Of the rows, as messages name them.
        empty: How many more have no text at all.
        others: Columns that are not read, and empty not everywhere.
        left: How many more are left out, by what they have or have not.
        is_chat: Whether a chat template writes them out.
    """

    source: str
    layout: Layout
    rows: list[Row]
    numbers: list[int]
    empty: int
    others: tuple[str, ...]
    left: Mapping[str, int]
    is_chat: bool


def load_rows(
    source: SourceSettings, data: DataSettings, *, split: str, preferences: bool = False
) -> Rows:
    """Reads all rows of a data set.

    Args:
        source: Where it is.
        data: Of which format its rows are.
        split: Of a folder or the hub, where the source names none.
        preferences: Whether the rows are to be preferences, where they can be.

    Raises:
        UserError: The data cannot be found or read, or a row lacks a part.
    """
    numbered = list(numbered_rows(source, split=split))
    given = [row for _, row in numbered if isinstance(row, Mapping)]
    columns = dict.fromkeys(name for row in given for name in row)  # in the order they come in
    layout = layout_of(columns, data, source.name, preferences=preferences)
    is_chat = _is_chat(layout, given, data)
    rows, numbers, empty, left = list[Row](), list[int](), 0, Counter[str]()
    for number, row in _all_checked(numbered, source.name, layout, data, is_chat):
        if not any(map(_has_text, row.values())):
            empty += 1
        elif reason := _unusable(row, layout):
            left[reason] += 1
        else:
            rows.append(row)
            numbers.append(number)
    if not rows:
        raise UserError(f"{source.name}: {_nothing(len(numbered), empty, left)}")
    read = _read(layout, data, is_chat)
    filled = dict.fromkeys(n for row in given for n, v in row.items() if v not in (None, "", []))
    others = tuple(name for name in filled if name not in read)
    return Rows(source.name, layout, rows, numbers, empty, others, left, is_chat)


def _all_checked(
    numbered: Iterable[tuple[int, Any]],
    source: str,
    layout: Layout,
    data: DataSettings,
    is_chat: bool,
) -> list[tuple[int, Row]]:
    found, wrong = [], []
    for number, raw in numbered:
        try:
            row = _checked(raw, f"{source}, row {number}", layout, data, is_chat)
            found.append((number, row))
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        others = len(wrong) - 1
        rest = f" ({others} more row{'s are' if others > 1 else ' is'} wrong)" if others else ""
        raise UserError(wrong[0] + rest)
    return found


def _is_chat(layout: Layout, given: Sequence[Mapping[str, Any]], data: DataSettings) -> bool:
    if layout.form in ("messages", "conversations"):
        return True
    if layout.form == "text":
        return False
    if layout.form == "instruction" or data.template == "chat":
        return data.template == "chat"
    first = given[0] if given else {}
    return any(is_turns(first.get(layout.columns.get(part, part))) for part in ANSWERS)


def _read(layout: Layout, data: DataSettings, is_chat: bool) -> set[str]:
    """The columns that are read; also Alpaca's input, of which a line of its own tells."""
    unused = set()
    if not is_chat and "system" not in columns_in(data.template):
        unused.add(layout.columns.get("system"))
    inputs = {"input"} if layout.form == "instruction" else set()
    return {name for name in layout.read if name not in unused} | inputs


def _nothing(total: int, empty: int, left: Mapping[str, int]) -> str:
    if not total:
        return "holds no rows; give a file with at least one"
    if empty == total:
        return f"holds {total} rows, all empty; give a file with at least one"
    told = ", ".join(f"{n} {reason}" for reason, n in left.items())
    return f"holds {total} rows, and none can be used ({told}); correct them"


def _has_text(value: Any) -> bool:
    texts = [turn["content"] for turn in value] if isinstance(value, list) else [value]
    return any(isinstance(text, str) and text.strip() for text in texts)


def _unusable(row: Row, layout: Layout) -> str | None:
    """Why nothing can be learned from a chat."""
    turns = [turn for value in row.values() if isinstance(value, list) for turn in value]
    known = set(ROLES.values())
    if unknown := sorted({turn["role"] for turn in turns} - known):
        return f"have turns of a role that is not known ({', '.join(unknown)})"
    if layout.form in ("messages", "conversations"):
        roles = [turn["role"] for turn in turns]
        return None if "assistant" in roles else NO_ANSWER
    return None


def _checked(raw: Any, where: str, layout: Layout, data: DataSettings, is_chat: bool) -> Row:
    required = _required(layout, data)
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: must be an object with {', '.join(required)}, not {raw!r:.60}")
    for column in required:
        if raw.get(column) is None:
            raise UserError(_missing(raw, column, where, required))
    if data.template != "chat":
        _check_kind(raw, where, layout, is_chat)
    row: Row = dict.fromkeys(FIELDS, "") if layout.form == "instruction" else {}
    read = _read(layout, data, is_chat)
    for part, column in layout.columns.items():
        value = raw.get(column)
        if column not in read:
            continue
        if part == "tools":
            row |= {"tools": _tools(value, where)} if value else {}
        elif _wants_turns(part, value, layout, is_chat):
            row[part] = turns_of(value, where, column)
        else:
            row[part] = _text(value, column, where)
    return row | {column: _text(raw.get(column), column, where) for column in layout.named}


def _check_kind(raw: Mapping[str, Any], where: str, layout: Layout, is_chat: bool) -> None:
    """Text among messages would be taken for a turn, or the other way round refused as no text."""
    for part in ONE_KIND:
        column = layout.columns.get(part)
        if column is not None and is_turns(raw[column]) != is_chat:
            kinds = ("messages", "text") if is_chat else ("text", "messages")
            raise UserError(
                f"{where}: its `{column}` is {kinds[1]}, and that of the first row {kinds[0]}; "
                "give them in files of their own"
            )


def _tools(value: Any, where: str) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UserError(f"{where}: `tools` is not valid JSON: {error}; correct it") from None


def _wants_turns(part: str, value: Any, layout: Layout, is_chat: bool) -> bool:
    if layout.form in ("messages", "conversations"):
        return part == layout.form
    if layout.form in ("completion", "preference") and part != "system" and is_chat:
        return is_turns(value)
    return False


def _required(layout: Layout, data: DataSettings) -> list[str]:
    """The columns that every row must have."""
    if layout.form == "instruction":
        named = columns_in(data.template) if data.own_template else ["instruction"]
        parts = [*named, "output"]
    else:
        parts = {
            "completion": ["prompt", "completion"],
            "preference": ["chosen", "rejected"],
        }.get(layout.form, [layout.form])
    return list(
        dict.fromkeys(layout.columns.get(part, data.fields.get(part, part)) for part in parts)
    )


def _missing(raw: Mapping[str, Any], column: str, where: str, required: Sequence[str]) -> str:
    if column in raw:
        return f"{where}: `{column}` is null; write its text, or remove the row"
    found = ", ".join(name for name, value in raw.items() if value is not None) or "no field"
    return (
        f"{where}: has no `{column}` (it has {found}); rows need {', '.join(required)}, "
        "so rename the fields of the data or complete the row"
    )


def _text(value: Any, column: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: `{column}` = {value!r:.60} must be text; put it in quotes")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise UserError(f"{where}: `{column}` holds half a surrogate pair; remove it")
    return value
