"""How an error says that a storage has gone away in the middle; touches no storage."""

from __future__ import annotations

import sys

from optuna.exceptions import StorageInternalError

from storage._disk import full_disk
from storage._url import parse


__all__ = ["broke_off", "reason"]

_AFTER = (AssertionError, UnboundLocalError)
"""Optuna's, of a trial whose end it could not tell the storage, nor read from it."""


def broke_off(error: BaseException) -> bool:
    """Whether what failed is the connection to a storage, which may be back later."""
    if isinstance(error, StorageInternalError):  # a database
        return True
    if isinstance(error, _AFTER):
        return error.__context__ is not None and broke_off(error.__context__)
    grpc = sys.modules.get("grpc")  # a proxy: loaded where there is one
    return grpc is not None and isinstance(error, grpc.RpcError)


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
