"""How many threads linear algebra has: one, where more of them would wait for each other.

Matrices are small. On busy cores, as they are where models train, the waiting takes several times
as long as the computation. One thread also adds in one order, whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from functools import cache
from threading import Lock
from typing import final
from typing import TypeAlias

from threadpoolctl import ThreadpoolController


__all__ = ["BLAS", "OneThread"]

Restore: TypeAlias = Callable[[], None]


@final
class OneThread(ContextDecorator):
    """Inside, and in a function that it decorates, a library computes in the calling thread.

    Where several threads of the process are inside, the first says what is usual. The next would
    take 1 for it, and leave the process with one thread for good.

    Args:
        narrow: Has the library use one thread, and returns what gives it back those it had.
    """

    def __init__(self, narrow: Callable[[], Restore]) -> None:
        self._narrow = narrow
        self._lock = Lock()
        self._inside = 0
        self._restore: Restore = lambda: None

    def __enter__(self) -> None:
        with self._lock:
            restore = self._narrow()
            if not self._inside:
                self._restore = restore
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._restore()


@cache
def _libraries() -> ThreadpoolController:
    """Those that are loaded at the first use, NumPy's among them; to look takes milliseconds."""
    return ThreadpoolController()


def _narrow_blas() -> Restore:
    restore: Restore = _libraries().limit(limits=1, user_api="blas").restore_original_limits
    return restore


BLAS = OneThread(_narrow_blas)
"""NumPy's linear algebra."""
