"""Starts workers on this machine and keeps them running; knows processes, no study and no trial.

    workers.run([sys.executable, "work.py"], 4, logs=Path("logs"), look=how_many_are_finished)

In the worker, `workers.follow()` first: then it does not outlive the process that started it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import os
from pathlib import Path
import signal
import threading
import time

from storage.engines.engine import MISTAKE
from storage.engines.processes import EARLY_SECONDS
from storage.engines.processes import LIFELINE
from storage.engines.processes import processes
from storage.engines.supervisor import Crew
from storage.engines.supervisor import signals_heard
from storage.engines.supervisor import WorkersFailed


__all__ = ["MISTAKE", "WorkersFailed", "follow", "run"]

STOP_SECONDS = 30.0  # for ending a trial
GRACE_SECONDS = 10.0  # for ending the trial, when the supervisor is gone


def run(
    command: Sequence[str],
    count: int,
    *,
    logs: Path,
    look: Callable[[], int],
    say: Callable[[str], object] = print,
    early: float = EARLY_SECONDS,
    stop: float = STOP_SECONDS,
    late: Callable[[], bool] = lambda: False,
) -> bool:
    """Runs a command as `count` processes until each has exited with 0.

    With GPUs and several workers, each has a group of them to itself as far as they go, and the
    processors' threads are shared out. A worker that dies is started again. One that dies three
    times in a row, each time early or before any trial was finished, is given up.

    SIGINT and SIGTERM to this process end the workers with SIGTERM, and those that do not end
    with SIGKILL; a second one does so at once.

    Args:
        command: Its exit status says how it went: 0 nothing left to do, MISTAKE see there,
            anything else it died.
        count: Number of workers, at least one.
        logs: Folder for what they write: `0.log` and so on, begun anew.
        look: Called several times a second, to show progress; how many trials are finished.
            Where the storage breaks off in the middle, nobody is started or given up until a
            look succeeds again.
        say: Where a line about a death goes.
        early: Seconds a worker lives that is well.
        stop: Seconds a worker has for ending its trial.
        late: Asked as often as `look`: whether all workers are to end now, whatever they do.

    Returns:
        Whether it was stopped by a signal.

    Raises:
        ValueError: `count` is less than one.
        WorkersFailed: All workers are given up, or one met a mistake before any trial was
            finished.
    """
    if count < 1:
        raise ValueError(f"`count >= 1` must hold, but got ({count=}); 1 starts one worker.")
    _begin_anew(logs)
    with signals_heard() as heard, processes(command, count, logs, early) as engine:
        crew = Crew(engine, count, say)
        try:
            return crew.run(look, heard, late)
        finally:
            before = len(heard)
            engine.stop(crew.workers, stop, lambda: len(heard) > before)


def _begin_anew(logs: Path) -> None:
    for old in logs.glob("*.log"):
        if old.stem.isdecimal():  # of a run with more workers; the folder may hold other logs
            old.unlink()


def follow(*, grace: float = GRACE_SECONDS) -> None:
    """Ends this process when its supervisor is gone; nothing to do for one that has none.

    As SIGTERM does it, and after the grace period without asking.
    """
    end = os.environ.pop(LIFELINE, None)
    if end is not None:
        os.set_inheritable(int(end), False)
        threading.Thread(target=_follow, args=(int(end), grace), daemon=True).start()


def _follow(end: int, grace: float) -> None:
    os.read(end, 1)  # returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # a worker has a group of its own
