"""A file or a hub name -> checked instruction rows; reads files and the hub, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from objectives.data import hub
from objectives.errors import UserError


__all__ = ["Rows", "load_rows"]

FIELDS = ("instruction", "input", "output")


@dataclass(frozen=True)
class Rows:
    """A data set.

    Attributes:
        rows: Each with the fields instruction, input and output, and text in one of them.
        empty: How many more have none.
        others: Fields that are none of the three, and empty not everywhere.
    """

    rows: list[dict[str, str]]
    empty: int
    others: tuple[str, ...]


def load_rows(source: str, *, split: str, required: Sequence[str]) -> Rows:
    """Reads all rows of a data set.

    Args:
        source: A .json file (a list of objects), a .jsonl file (one object per line), or the name
            of a data set on the hub.
        split: Of a data set on the hub.
        required: The fields every row must have; the others of Alpaca's three become "".

    Raises:
        UserError: The data cannot be found or read, or a row lacks a field.
    """
    path = Path(source)
    if path.is_file():
        numbered = _read_file(path)
    elif path.suffix in (".json", ".jsonl", ".csv", ".parquet", ".txt"):
        raise UserError(f"{source}: there is no such file; correct the path in [data]")
    else:
        numbered = enumerate(_download(source, split), start=1)
    rows, others = [], dict[str, None]()  # in the order in which they come
    for number, row in numbered:
        rows.append(_checked(row, f"{source}, row {number}", required))
        others |= dict.fromkeys(name for name, value in row.items() if value not in (None, ""))
    kept = [row for row in rows if any(text.strip() for text in row.values())]
    if not kept:
        found = f"{len(rows)} rows, all empty" if rows else "no rows"
        raise UserError(f"{source}: holds {found}; give a file with at least one")
    names = tuple(name for name in others if name not in FIELDS)
    return Rows(kept, len(rows) - len(kept), names)


def _read_file(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with its number: a line's in JSON lines, else the place in the list; from 1."""
    if path.suffix not in (".json", ".jsonl"):
        raise UserError(f"{path}: must end in .json or .jsonl; convert it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); convert it") from None
    return _lines(path, text) if path.suffix == ".jsonl" else _list(path, text)


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parse(line, f"{path}, row {number}")


def _list(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        raise UserError(
            f"{path}: must be a list of objects, not {type(rows).__name__}; "
            "put [ ] around the rows, or name a file of one object per line .jsonl"
        )
    return enumerate(rows, start=1)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = (
            ", or name a file of one object per line .jsonl" if error.msg == "Extra data" else ""
        )
        raise UserError(f"{where}: is not valid JSON: {error}; correct it{lines}") from None
    except RecursionError:
        raise UserError(f"{where}: is nested too deeply; a row is an object of texts") from None


def _download(name: str, split: str) -> list[dict[str, Any]]:
    hub.check()
    try:
        import datasets  # with Arrow behind it; who has files does without

        rows: list[dict[str, Any]] = datasets.load_dataset(name, split=split).to_list()
    # The hub's client raises what its HTTP library, the file system and the formats raise.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        told = hub.missing(
            "is neither a file here nor in the hub's cache",
            "give a .json or .jsonl file in [data]",
        ) or (
            f"cannot be loaded ({reason}); check the name and the network, or download it "
            "elsewhere and give a .json or .jsonl file in [data]"
        )
        raise UserError(f"data set {name}, split {split}: {told}") from None
    return rows


def _checked(row: Any, where: str, required: Sequence[str]) -> dict[str, str]:
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: must be an object with {_names(required)}, not {row!r:.60}")
    return {field: _text(row, field, where, required) for field in FIELDS}


def _text(row: Mapping[str, Any], field: str, where: str, required: Sequence[str]) -> str:
    text = row.get(field)
    if text is None:
        if field not in required:
            return ""
        found = _names([name for name, value in row.items() if value is not None]) or "no field"
        raise UserError(
            f"{where}: has no `{field}` (it has {found}); rows need {_names(required)}, "
            "so rename the fields of the data or complete the row"
        )
    if not isinstance(text, str):
        raise UserError(f"{where}: `{field}` = {text!r:.60} must be text; put it in quotes")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"{where}: `{field}` holds half a surrogate pair; remove it")
    return text


def _names(fields: Sequence[str]) -> str:
    return ", ".join(fields)
