"""Starts workers on this machine and keeps them running; knows processes, no study and no trial.

    workers.run([sys.executable, "work.py"], 4, logs=Path("logs"), look=how_many_are_finished)

In the worker, `workers.follow()` first: then it does not outlive the process that started it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import signal
import subprocess
import threading
import time
from types import FrameType

from storage._away import broke_off
from storage._devices import worker_environment


__all__ = ["MISTAKE", "WorkersFailed", "follow", "run"]

MISTAKE = 2
"""Exit status of a worker that was asked for something impossible: the next one would fail too."""
STRIKES = 3  # deaths in a row after which a worker is given up
PAUSE_SECONDS = 1.0  # before a start, for every death in a row: a database restarts in some
EARLY_SECONDS = 10.0  # a worker that dies younger was not well
STOP_SECONDS = 30.0  # for ending a trial
LOOK_SECONDS = 0.2
LIFELINE = "STORAGE_LIFELINE"
"""Environment variable of a worker: its end of a pipe that says nothing and closes when the
supervisor is gone, however it went: the kernel closes the files of a process that was killed."""
GRACE_SECONDS = 10.0  # for ending the trial, when the supervisor is gone
_LAST_LINES = 5  # of a log, in a message


class WorkersFailed(RuntimeError):
    """No worker is left; the message is what the last of them said.

    Attributes:
        mistake: Whether it exited with MISTAKE, and its message is for the user as it is.
    """

    def __init__(self, message: str, *, mistake: bool) -> None:
        super().__init__(message)
        self.mistake = mistake


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
    logs.mkdir(parents=True, exist_ok=True)
    with _signals() as signals, _pipe() as lifeline:
        crew = _crew(command, count, logs, lifeline)
        try:
            return _supervise(crew, look, say, early, signals, late)
        finally:
            _end(crew, stop, signals)


@dataclass
class _Worker:
    """One place among the workers, and the process that fills it."""

    number: int
    command: Sequence[str]
    environment: dict[str, str]
    lifeline: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    finished: int = 0  # trials of the study, when the process was started
    strikes: int = 0
    due: float = 0.0  # when the next process may start
    over: bool = False

    def start(self, finished: int) -> None:
        self.started, self.finished = time.monotonic(), finished
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment, LIFELINE: str(self.lifeline)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self.lifeline,),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )

    def last_words(self) -> str:
        """The log from its last "error:" on, or its last lines."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        errors = [k for k, line in enumerate(lines) if line.startswith("error:")]
        return "\n".join(lines[errors[-1] :] if errors else lines[-_LAST_LINES:])


def _crew(command: Sequence[str], count: int, logs: Path, lifeline: int) -> list[_Worker]:
    for old in logs.glob("*.log"):
        if old.stem.isdecimal():  # of a run with more workers; the folder may hold other logs
            old.unlink()
    return [
        _Worker(k, command, environment, lifeline, logs / f"{k}.log")
        for k, environment in enumerate(worker_environment(count))
    ]


def _looked(look: Callable[[], int]) -> int | None:
    """How many trials are finished; None while the storage is away."""
    try:
        return look()
    except Exception as error:
        if not broke_off(error):
            raise
        return None


def _supervise(
    crew: list[_Worker],
    look: Callable[[], int],
    say: Callable[[str], object],
    early: float,
    signals: list[int],
    late: Callable[[], bool],
) -> bool:
    before = look()
    while not all(worker.over for worker in crew):
        finished = _looked(look)
        if signals:
            return True
        if late():
            return False
        if finished is not None:
            for worker in crew:
                _tend(worker, finished, say, early, mistakes=finished == before)
        time.sleep(LOOK_SECONDS)
    _looked(look)
    if all(worker.strikes >= STRIKES for worker in crew):
        raise WorkersFailed(
            f"no worker is left; the last one's log, {crew[-1].log}, ends:\n"
            f"{crew[-1].last_words()}",
            mistake=False,
        )
    return False


def _tend(
    worker: _Worker, finished: int, say: Callable[[str], object], early: float, mistakes: bool
) -> None:
    """Starts a worker that is due, and looks how one has ended."""
    if worker.over:
        return
    if worker.process is None:
        if time.monotonic() >= worker.due:
            worker.start(finished)
        return
    status = worker.process.poll()
    if status is None:
        return
    worker.process = None
    if status == MISTAKE and mistakes:
        raise WorkersFailed(worker.last_words(), mistake=True)
    if status == 0:
        worker.over = True
    else:
        _bury(worker, status, finished, say, early)


def _bury(
    worker: _Worker, status: int, finished: int, say: Callable[[str], object], early: float
) -> None:
    well = time.monotonic() - worker.started >= early and finished > worker.finished
    worker.strikes = 0 if well else worker.strikes + 1
    worker.over = worker.strikes >= STRIKES
    worker.due = time.monotonic() + PAUSE_SECONDS * worker.strikes
    how = f"was killed by {_signal_name(-status)}" if status < 0 else f"exited {status}"
    then = f"{STRIKES} times in a row: given up" if worker.over else "started again"
    say(f"worker {worker.number} {how}, {then}; its log is {worker.log}")


def _signal_name(number: int) -> str:
    """Real-time signals have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(crew: list[_Worker], patience: float, signals: list[int]) -> None:
    """Ends what still runs, gently at first."""
    running = [worker.process for worker in crew if worker.process is not None]
    for process in running:
        process.terminate()
    deadline, heard = time.monotonic() + patience, len(signals)
    while any(process.poll() is None for process in running):
        if time.monotonic() > deadline or len(signals) > heard:
            break
        time.sleep(LOOK_SECONDS / 4)
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with processes of its own
        process.wait()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals to stop that have come; an exception in their place could lose a process."""
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        heard.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _pipe() -> Iterator[int]:
    """The workers' end of the lifeline; the other is this process's, and of no other."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(ours)
        os.close(theirs)


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
