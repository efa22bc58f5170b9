"""What a CSV reader would swallow: rows shorter or longer than the header, quotes left open."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from pathlib import Path

from objectives.data.reading.opened import opened
from objectives.errors import UserError


__all__ = ["checked_header"]

LONGEST = 2**31 - 1  # characters of a cell; the module's own limit is 131,072


def checked_header(path: Path, separator: str) -> list[str]:
    """The names of the columns, if every row has a cell for each.

    Raises:
        UserError: A row has not, or a quotation mark has no partner, or a name cannot be right.
    """
    csv.field_size_limit(LONGEST)
    with opened(path) as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        header: list[str] = []
        try:
            for number, row in enumerate(filter(None, rows)):
                if number == 0:
                    header = row
                    _check_names(path, header)
                elif len(row) != len(header):
                    raise UserError(
                        f"{path}, row {number}: has {_cells(row)}, and the header has "
                        f"{_cells(header)}; put quotation marks around a cell with "
                        f"{_named(separator)} in it, or correct the row"
                    )
        except csv.Error as error:
            raise UserError(
                f"{path}, line {rows.line_num}: cannot be read ({error}); give each quotation "
                "mark its partner, and write one inside a cell twice"
            ) from None
    return header


def _check_names(path: Path, header: Sequence[str]) -> None:
    others = [mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]]
    if others:
        way_out = "name the file .tsv" if others[0] == "\t" else "save it with commas"
        raise UserError(
            f"{path}: its cells are separated by {_named(others[0])}, and commas are read; "
            f"{way_out}"
        )
    for name in header:
        if name != name.strip():
            raise UserError(f"{path}: its column {name!r} has a space around it; remove that")
        if header.count(name) > 1:
            raise UserError(f"{path}: has two columns {name!r}; rename one of them")


def _cells(row: Sequence[str]) -> str:
    return f"{len(row)} cell{'' if len(row) == 1 else 's'}"


def _named(separator: str) -> str:
    return {"\t": "a tab", ",": "a comma"}.get(separator, repr(separator))
