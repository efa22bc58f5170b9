"""What a storage's URL says, and the one error about it; opens nothing."""

from __future__ import annotations

import os
from pathlib import Path
import re

from sqlalchemy.engine import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError


__all__ = [
    "FILES",
    "StorageError",
    "file",
    "in_memory",
    "of_one_machine",
    "parse",
    "private",
    "shown",
    "told",
]

FILES = ("sqlite", "journal")
"""Kinds whose study is a file."""


class StorageError(ValueError):
    """A storage that cannot be opened; the message names the URL, the reason and the way out."""


def parse(url: str) -> URL:
    """The parts of a URL.

    Raises:
        StorageError: It is none.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        hidden = re.sub(r"(//[^:/@]*):.*@", r"\1:***@", str(url))  # what it can, SQLAlchemy hides
        raise StorageError(
            f"`storage` must be a database URL, its port a number, but got ({hidden!r}); "
            "for example sqlite:///study.db or postgresql+psycopg://user:password@host/name."
        ) from None


def shown(url: str) -> str:
    """The URL for people: its password is left out."""
    return told(parse(url))


def told(parsed: URL) -> str:
    """The same of its parts. SQLAlchemy writes a path's special letters as %3A, nobody else."""
    if parsed.get_backend_name() not in FILES or not parsed.database:
        return parsed.render_as_string(hide_password=True)
    without = URL.create(*parsed[:5], query=parsed.query)  # `set` takes no None
    beginning, mark, query = without.render_as_string(hide_password=True).partition("?")
    return f"{beginning}/{parsed.database}{mark}{query}"


def private(url: str) -> bool:
    """Whether only one process can have it: a database in memory."""
    return in_memory(parse(url))


def of_one_machine(url: str) -> bool:
    """Whether only the processes of one machine can share it."""
    return parse(url).get_backend_name() == "sqlite"


def in_memory(parsed: URL) -> bool:
    """Whether it is a database in memory."""
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def file(parsed: URL) -> Path:
    """The file of an SQLite database or a journal; it need not be there.

    Raises:
        StorageError: There is no such place, or nobody may write there.
    """
    if not parsed.database:
        raise StorageError(
            f"`storage` = {told(parsed)}: a journal needs a file; for example "
            "journal:///study.log."
        )
    path = Path(parsed.database)
    if not os.path.isdir(path.parent):
        raise StorageError(
            f"`storage` = {told(parsed)}: there is no folder {path.parent}; make it, or check the "
            "path: three slashes start at the working directory, four at the root."
        )
    _check_access(parsed, path.parent, os.W_OK | os.X_OK)
    if not path.exists():
        return path
    if not path.is_file():
        raise StorageError(
            f"`storage` = {told(parsed)}: {path} is a folder or a device; name a file, which is "
            "made when it is not there."
        )
    _check_access(parsed, path, os.R_OK | os.W_OK)
    return path


def _check_access(parsed: URL, place: Path, needed: int) -> None:
    if not os.access(place, needed):
        raise StorageError(
            f"`storage` = {told(parsed)}: {place} may not be written by this user, or is on a "
            "read-only disk; change its permissions, or give another path."
        )
