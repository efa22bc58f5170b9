"""A lock that is a file, also on network file systems; touches no study.

The file is a symbolic link that leads nowhere: making one is atomic everywhere, and its text says
who holds the lock. Optuna's own lock of a journal has the same name, so that both respect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import random
import threading
import time

from storage._process import Process


__all__ = ["held"]

PATIENCE_SECONDS = 30.0  # with a holder of whom it cannot be known whether it lives
_LONGEST_PAUSE = 0.02  # seconds between two looks

_Look = tuple[str, int, int]
"""Who holds a lock, and the file: a holder that has come back has made another."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock, waiting for it.

    A holder on this machine that has ended is noticed at once. One elsewhere, which may have, is
    waited for a while in which it does nothing.
    """
    me = _me()
    try:
        _take(path, me)
        yield
    finally:
        found = _look(path)
        if found is not None and found[0] == me:
            path.unlink(missing_ok=True)


def _me() -> str:
    """This thread: a lock that it holds already was left by an interruption in between."""
    process = Process.this()
    return f"{process.machine}:{process.number}:{process.start}:{threading.get_ident()}"


def _take(path: Path, me: str) -> None:
    before: _Look | None = None
    waited = 0.0  # between looks: the time of one that hung, with its server, is no one's idleness
    while not _made(path, me):
        found = _look(path)
        if found != before:
            before, waited = found, 0.0
        elif found is not None and _is_left(found, waited):
            _break(path, found)
        pause = random.uniform(0, _LONGEST_PAUSE)
        time.sleep(pause)
        waited += pause


def _made(path: Path, me: str) -> bool:
    try:
        path.symlink_to(me)
    except FileExistsError:
        found = _look(path)
        return found is not None and found[0] == me
    return True


def _look(path: Path) -> _Look | None:
    try:
        status = path.lstat()
        text = os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:  # a plain file: one of Optuna's locks is
        text = ""
    return text, status.st_ino, status.st_mtime_ns


def _is_left(found: _Look, waited: float) -> bool:
    machine, number, start, *_ = [*found[0].split(":"), "", "", ""]
    if not number.isdecimal():  # Optuna's lock says nothing of its holder
        return waited > PATIENCE_SECONDS
    holder = Process(machine, int(number), start)
    return holder.is_gone() or (not holder.is_here() and waited > PATIENCE_SECONDS)


def _break(path: Path, found: _Look) -> None:
    """Removes the file that was found and no later one: of several that want to, one at a time."""
    with held(path.with_name(f"{path.name}.break")):
        if _look(path) == found:
            path.unlink(missing_ok=True)
