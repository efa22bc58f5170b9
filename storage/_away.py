"""What an error says of a storage: that it has gone away, or which disk is full; opens none."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import sys

from optuna.exceptions import StorageInternalError
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy.engine import URL

from storage._url import FILES
from storage._url import in_memory
from storage._url import parse


__all__ = ["broke_off", "full_disk", "reason", "was_failed"]

_AFTER = (AssertionError, UnboundLocalError)
"""Optuna's, of a trial whose end it could not tell the storage, nor read from it."""

_TOLD = "Cannot tell a FAIL trial."  # Optuna's, of one that has ended already

_SAID = ("disk is full", "No space left", "quota exceeded", "File too large")
"""By SQLite, and by the system to a journal."""
_FAILED = "disk I/O error"  # SQLite, where its index of the log does not fit any more
_LITTLE = 1 << 20  # bytes


def broke_off(error: BaseException) -> bool:
    """Whether what failed is the connection to a storage, which may be back later."""
    if isinstance(error, StorageInternalError):  # a database
        return True
    if isinstance(error, _AFTER):
        return error.__context__ is not None and broke_off(error.__context__)
    grpc = sys.modules.get("grpc")  # a proxy: loaded where there is one
    return grpc is not None and isinstance(error, grpc.RpcError)


def was_failed(error: BaseException) -> bool:
    """Whether a trial had no sign of life for too long and another worker has failed it."""
    if isinstance(error, _AFTER):
        return error.__context__ is not None and was_failed(error.__context__)
    return isinstance(error, UpdateFinishedTrialError) or str(error) == _TOLD


def reason(error: BaseException, url: str) -> str:
    """What a driver or a proxy said, in a line; of a full disk, which.

    Optuna's own text, that the data may be invalid, says nothing of the cause.

    Args:
        error: One that `broke_off`.
        url: The storage's.
    """
    said = _said(error)
    return full_disk(parse(url), said) or said


def _said(error: BaseException) -> str:
    details = getattr(error, "details", None)
    if callable(details):
        return str(details())
    if isinstance(error, _AFTER) and error.__context__ is not None:
        return _said(error.__context__)
    cause = error.__cause__ or error
    said = str(getattr(cause, "orig", None) or cause).strip()
    return said.splitlines()[0] if said else type(cause).__name__


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
