"""SIGINT and SIGTERM during a search: where they may stop it; touches the process's signals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import signal
from types import FrameType


__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Raises KeyboardInterrupt on the first signal where it is welcome, on the second anywhere.

    It is welcome in the objective and in a wait. A sampler's ask in between is short, and a trial
    made there and not yet run would look like one of a dead worker.
    """

    def __init__(self) -> None:
        self._welcome = False
        self._heard = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listens to the signals."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def welcome(self) -> Iterator[None]:
        """Work that may be stopped."""
        self._welcome = True
        try:
            if self._heard:
                raise KeyboardInterrupt
            yield
        finally:
            self._welcome = False

    def _hear(self, *_: int | FrameType | None) -> None:
        again, self._heard = self._heard, True
        if self._welcome or again:
            self._welcome = False  # what follows is the trial's end
            raise KeyboardInterrupt
