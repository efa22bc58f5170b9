"""How many threads linear algebra has: one, where more of them would wait for each other.

Matrices are small. On busy cores, as they are where models train, the waiting takes several times
as long as the computation. One thread also adds in one order, whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
import os
from threading import RLock

from threadpoolctl import ThreadpoolController


__all__ = ["look_again", "one_thread"]


class _Turn:
    """Who computes. A forked child has none of its parent's other threads."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = RLock()  # a computation may begin another


_TURN = _Turn()


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, and in a function that it decorates, NumPy's BLAS has one thread.

    That number is the process'. So one thread computes at a time: of two that overlap, the second
    would take 1 for the usual, and leave it so.
    """
    with _TURN.lock, _libraries().limit(limits=1, user_api="blas"):
        yield


def look_again() -> None:
    """For a BLAS that has been loaded since, as SciPy's is with a model."""
    _libraries.cache_clear()


@cache
def _libraries() -> ThreadpoolController:
    """Those that are loaded; to look takes milliseconds."""
    return ThreadpoolController()
