"""Signals and the end of a budget: where they may stop a search; touches the process's signals."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import math
import os
import signal
import time
from types import FrameType


__all__ = ["INTERRUPTED", "STOPPED", "Interruption", "TimeIsUp", "end_at_once", "end_in_order"]

INTERRUPTED = 130
"""Exit status, as a shell counts an end by SIGINT."""
STOPPED = "stopped; the same command continues this study"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SOON = 1e-3  # seconds; a timer of none never rings
AGAIN = 0.1  # seconds
YEAR = 3e7  # seconds; the system takes some, not any number


def end_at_once() -> None:
    """Until there is something to put in order, Ctrl-C ends the process where it is.

    A KeyboardInterrupt may come in the middle of an import, and be lost or turned into another
    error there.
    """
    signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: int | FrameType | None) -> None:
    with suppress(OSError):
        os.write(1, f"{STOPPED}\n".encode())
    os._exit(INTERRUPTED)


class TimeIsUp(KeyboardInterrupt):
    """A trial that runs is interrupted as by a user, and the search is over."""


class Interruption:
    """Raises KeyboardInterrupt on the first signal where it is welcome, on the second anywhere.

    It is welcome in the objective and in a wait. A sampler's ask in between is short, and a trial
    made there and not yet run would look like one of a dead worker.

    Args:
        end: When work that is welcome to be stopped is, with `TimeIsUp`; in seconds since the
            epoch. Asked at the beginning of the work.
    """

    def __init__(self, end: Callable[[], float] = lambda: math.inf) -> None:
        self._welcome = False
        self._heard = False
        self._end = end

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listens to the signals."""
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._ring)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def welcome(self) -> Iterator[None]:
        """Work that may be stopped."""
        end = self._end()
        self._welcome = True
        try:
            if self._heard:
                raise KeyboardInterrupt
            if end < math.inf:
                left = min(max(SOON, end - time.time()), YEAR)
                signal.setitimer(signal.ITIMER_REAL, left)
            yield
        finally:
            self._welcome = False
            if end < math.inf:
                signal.setitimer(signal.ITIMER_REAL, 0.0)

    @contextmanager
    def unwelcome(self) -> Iterator[None]:
        """Work in the middle of that which may not be stopped; a signal is heard after it."""
        before, self._welcome = self._welcome, False
        yield
        self._welcome = before
        if before and self._heard:
            self._welcome = False
            raise KeyboardInterrupt

    def _ring(self, *_: int | FrameType | None) -> None:
        if not self._welcome:  # in the middle of what may be stopped, or just after it
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        self._welcome = False
        raise TimeIsUp

    def _hear(self, *_: int | FrameType | None) -> None:
        again, self._heard = self._heard, True
        if self._welcome or again:
            self._welcome = False  # what follows is the trial's end
            raise KeyboardInterrupt
