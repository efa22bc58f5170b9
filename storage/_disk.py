"""A full disk below the file of a study: which, and where; asks the system only."""

from __future__ import annotations

import os
from pathlib import Path
import shutil

from sqlalchemy.engine import URL

from storage._url import FILES
from storage._url import in_memory


__all__ = ["full_disk"]

_SAID = ("disk is full", "No space left", "quota exceeded", "File too large")
"""By SQLite, and by the system to a journal."""
_FAILED = "disk I/O error"  # SQLite, where its index of the log does not fit any more
_LITTLE = 1 << 20  # bytes


def full_disk(url: URL, reason: str) -> str | None:
    """Which file could not be written and what to do; None where the reason is another.

    Args:
        url: The storage's.
        reason: What the storage said.
    """
    if url.get_backend_name() not in FILES or in_memory(url):
        return None
    file = Path(url.database or "").absolute()
    failed = _FAILED in reason and shutil.disk_usage(file.parent).free < _LITTLE
    if not failed and not any(words in reason for words in _SAID):
        return None
    disk = next(folder for folder in file.parents if os.path.ismount(folder))
    return f"{file} cannot be written, for the disk at {disk} is full; make room there"
