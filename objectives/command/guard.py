"""Runs a command and ends all that it has started, also when whoever asked is gone; a script.

    python guard.py FD SECONDS WORD ...

FD is an end of a pipe that says nothing and closes when the other process has ended, however it
went. Nothing of this project is imported, since every trial starts one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import ctypes
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
import time


LOOK_SECONDS = 0.05
LAST_SECONDS = 30.0  # for the kernel to end what SIGKILL has reached
NOT_FOUND = 127  # exit status, as a shell has it
BY_SIGNAL = 128  # and the signal's number, as a shell has it
PROC = Path("/proc")
_SUBREAPER = 36  # Linux's PR_SET_CHILD_SUBREAPER


def main(end: int, patience: float, words: list[str]) -> int:
    """The command's exit status; 128 and more where a signal has ended it."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    _adopt_orphans()
    try:
        first = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True).pid
    except OSError as error:
        print(f"{words[0]}: {error.strerror}", flush=True)
        return NOT_FOUND
    status = None
    while status is None and not asked and not select.select([end], [], [], LOOK_SECONDS)[0]:
        status = _reap(first)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, LAST_SECONDS)):
        found = _end(first, number, seconds)
        status = found if status is None else status
    return _as_a_shell(status)


def _adopt_orphans() -> None:
    """What a trainer's process leaves behind becomes a child of this one, where there is Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _reap(first: int) -> int | None:
    """Buries all children that have ended; how the first one did, if it is among them."""
    status = None
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == first:
                status = os.waitstatus_to_exitcode(found[1])
    return status


def _end(first: int, number: int, seconds: float) -> int | None:
    """Sends each process a signal once, and waits for them."""
    told: set[int] = set()
    status, deadline = _reap(first), time.monotonic() + seconds
    while (living := set(_living(first))) and time.monotonic() < deadline:
        for process in living - told:
            with suppress(OSError):
                os.kill(process, number)
        told |= living
        time.sleep(LOOK_SECONDS)
        found = _reap(first)
        status = found if status is None else status
    return status


def _living(first: int) -> Iterator[int]:
    """All below this process; without /proc, the group of the first one."""
    if not PROC.is_dir():
        with suppress(OSError):
            os.kill(-first, 0)
            yield -first
        return
    parents = dict(_parents())
    for process in parents:
        above = process
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() != process:
            yield process


def _parents() -> Iterator[tuple[int, int]]:
    """Of each process that lives, its parent."""
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended
                stat = (folder / "stat").read_text(errors="replace")  # a name may be of any bytes
                state, parent = stat.rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    yield int(folder.name), int(parent)


def _as_a_shell(status: int | None) -> int:
    if status is None:
        return BY_SIGNAL + signal.SIGKILL
    return status if status >= 0 else BY_SIGNAL - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
