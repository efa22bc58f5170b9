"""A file's text, packed or not; reads files."""

from __future__ import annotations

import bz2
from collections.abc import Callable
import gzip
import lzma
from pathlib import Path
from typing import Any
from typing import TextIO
import zlib

from objectives.settings.sections.paths import ending


__all__ = ["UNREADABLE", "opened"]

_OPENERS: dict[str, Callable[..., Any]] = {
    "": open,
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError)
"""What reading it raises where it is broken, or no UTF-8."""


def opened(path: Path) -> TextIO:
    """Its text, with the ends of lines as they are."""
    _, packed = ending(path.name)
    file: TextIO = _OPENERS[packed](path, "rt", encoding="utf-8-sig", newline="")
    return file
