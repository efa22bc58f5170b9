"""The columns of the data -> which format its rows have, and which column is which part of it."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass

from objectives.errors import UserError
from objectives.settings.sections.data import columns_in
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.data import PARTS


__all__ = ["Layout", "layout_of"]

# What others call the parts of an instruction; the first of each is ours.
WELL_KNOWN = {
    "instruction": ("instruction", "question", "query", "prompt", "problem"),
    "input": ("input", "context"),
    "output": ("output", "answer", "response", "solution", "completion"),
    "system": ("system", "system_prompt"),
    "prompt": ("prompt", "question", "query", "instruction"),
}
REQUIRED = {
    "instruction": ("instruction", "output"),
    "messages": ("messages",),
    "conversations": ("conversations",),
    "completion": ("prompt", "completion"),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
}
# Which of several formats that rows could have is taken: none behind one of an earlier line, and
# of one line only one.
ORDER = (
    ("instruction",),
    ("messages", "conversations", "completion", "preference"),
    ("text",),
)


@dataclass(frozen=True)
class Layout:
    """How to read the rows of a source.

    Attributes:
        form: The format.
        columns: The column of each part that there is.
        guessed: The parts whose columns have other names, which nobody has said.
        named: Further columns, which a template names.
    """

    form: str
    columns: Mapping[str, str]
    guessed: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def read(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([*self.columns.values(), *self.named]))


def layout_of(
    columns: Collection[str], data: DataSettings, source: str, *, preferences: bool
) -> Layout:
    """Which format rows with these columns have.

    Args:
        columns: In any of the rows.
        data: What the user says of them.
        source: Where they are, for messages.
        preferences: Whether the rows are to be preferences, where they can be.

    Raises:
        UserError: They can be of no format, or of several.
    """
    for part, column in data.fields.items():
        if columns and column not in columns:
            raise UserError(
                f'`[data] fields` = {{{part} = "{column}"}}: {source} has no such column (it has '
                f"{', '.join(columns)}); name one of these"
            )
    if data.format != "auto" or not columns:
        form = "instruction" if data.format == "auto" else data.format
        return _layout(form, columns, data, source)
    if data.own_template:
        return _layout("instruction", columns, data, source)
    formats = [form for forms in ORDER for form in forms if _fits(form, columns, data)]
    if preferences and "preference" in formats:
        return _layout("preference", columns, data, source)
    guess = _layout("instruction", columns, data, source)
    if {"instruction", "output"} <= guess.columns.keys() and formats in ([], ["text"]):
        formats.append("instruction")
    for forms in ORDER:
        found = [form for form in forms if form in formats]
        if "text" in formats and found == ["instruction"] and guess.guessed:
            found.append("text")
        if len(found) == 1:
            return _layout(found[0], columns, data, source)
        if found:
            raise UserError(
                f"{source}: its rows can be read as {' and as '.join(found)} (they have "
                f'{", ".join(columns)}); say which with `[data] format` = "{found[0]}"'
            )
    raise UserError(_unknown(columns, source, preferences))


def _fits(form: str, columns: Collection[str], data: DataSettings) -> bool:
    """Whether all that a format requires is there, by its own name or the user's."""
    named = set(data.fields) <= set(PARTS[form])
    return named and all(data.fields.get(part, part) in columns for part in REQUIRED[form])


def _layout(form: str, columns: Collection[str], data: DataSettings, source: str) -> Layout:
    named = columns_in(data.template) if form == "instruction" and data.own_template else []
    named = [name for name in named if name not in PARTS["instruction"]]
    for name in named:
        if columns and name not in columns:
            raise UserError(
                f"`[data] template` names {{{name}}}, and {source} has no such column (it has "
                f"{', '.join(columns)}); name one of these"
            )
    found: dict[str, str] = {}
    for part in PARTS[form]:
        there = [name for name in _names(part, columns, data) if name in columns]
        there = [name for name in there if name not in (*found.values(), *named)]
        if len(there) == 1:
            found[part] = there[0]
    if form == "instruction" and "instruction" not in found and found.get("input") == "input":
        found["instruction"] = found.pop("input")
    guessed = [p for p, name in found.items() if name != p and p not in data.fields]
    return Layout(form, found, tuple(guessed), tuple(named))


def _names(part: str, columns: Collection[str], data: DataSettings) -> Collection[str]:
    """What the column of a part may be called."""
    if part in data.fields:
        return (data.fields[part],)
    return (part,) if part in columns else WELL_KNOWN.get(part, ())


def _unknown(columns: Collection[str], source: str, preferences: bool) -> str:
    wanted = ("preference",) if preferences else REQUIRED
    formats = "; ".join(f"{form}: {', '.join(REQUIRED[form])}" for form in wanted)
    example = {part: "..." for part in REQUIRED["preference" if preferences else "instruction"]}
    fields = ", ".join(f'{part} = "{name}"' for part, name in example.items())
    return (
        f"{source}: its columns {', '.join(columns)} are of no format ({formats}); say which is "
        f"which with `[data] fields`, for example fields = {{{fields}}}"
    )
