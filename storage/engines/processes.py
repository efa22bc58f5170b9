"""The engine of this machine: workers are its processes, and share its devices and threads."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import signal
import subprocess
import time

from storage._devices import worker_environment
from storage._process import NAME
from storage.engines.engine import End
from storage.engines.engine import Ended
from storage.engines.engine import Worker


__all__ = ["LIFELINE", "Processes", "last_words", "processes"]

EARLY_SECONDS = 10.0  # a worker that dies younger was not well
PAUSE_SECONDS = 0.2
LOOK_SECONDS = 0.05  # while they end
LIFELINE = "STORAGE_LIFELINE"
"""Environment variable of a worker: its end of a pipe that says nothing and closes when the
supervisor is gone, however it went: the kernel closes the files of a process that was killed."""
_LAST_LINES = 5  # of a log, in a message


@dataclass
class _Process:
    """A worker."""

    output: Path
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> str:
        return str(self.output)

    def ended(self) -> Ended | None:
        status = self.process.poll()
        if status is None:
            return None
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"exited {status}"
        return Ended(End.of(status), how, time.monotonic() - self.started)

    def last_words(self) -> str:
        return last_words(self.output)


class Processes:
    """Workers as processes of this machine.

    With GPUs and several workers, each has a group of them to itself as far as they go, and the
    processors' threads are shared out.

    Args:
        command: What a worker runs.
        count: Number of places.
        logs: Folder for what they write: `0.log` and so on.
        lifeline: The workers' end of the pipe.
        early: Seconds a worker lives that is well.
        deaf: Signals that workers do not hear.
    """

    pause = PAUSE_SECONDS

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        logs: Path,
        lifeline: int,
        early: float,
        deaf: Collection[signal.Signals],
    ) -> None:
        self.early = early
        self._command, self._logs, self._lifeline, self._deaf = command, logs, lifeline, deaf
        self._environments = worker_environment(count)
        self._started: list[_Process] = []
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, places: Sequence[int]) -> Sequence[Worker]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._deaf)  # a process inherits it
        try:
            started = [self._start(place) for place in places]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._started = [each for each in self._started if each.process.poll() is None]
        self._started += started
        return started

    def _start(self, place: int) -> _Process:
        file = self._logs / f"{place}.log"
        given = {**self._environments[place], LIFELINE: str(self._lifeline)}
        environment = {NAME: str(place), **os.environ, **given}  # a job's worker has the job's
        with file.open("ab") as log:
            process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lifeline,),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )
        return _Process(file, process)

    def look(self) -> str | None:
        return None

    def stop(self, workers: Sequence[Worker], patience: float, hurry: Callable[[], bool]) -> None:
        running = [w.process for w in self._started if w in workers]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + patience
        while any(process.poll() is None for process in running):
            if time.monotonic() > deadline or hurry():
                break
            time.sleep(LOOK_SECONDS)
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with processes of its own
            process.wait()


@contextmanager
def processes(
    command: Sequence[str],
    count: int,
    logs: Path,
    early: float = EARLY_SECONDS,
    deaf: Collection[signal.Signals] = (),
) -> Iterator[Processes]:
    """The engine, with its end of the lifeline, which is this process's and of no other."""
    theirs, ours = os.pipe()
    try:
        yield Processes(command, count, logs, theirs, early, deaf)
    finally:
        os.close(ours)
        os.close(theirs)


def last_words(file: Path) -> str:
    """A log from its last "error:" on, or its last lines."""
    if not file.exists():
        return ""
    lines = file.read_text(errors="replace").strip().splitlines()
    errors = [k for k, line in enumerate(lines) if line.startswith("error:")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-_LAST_LINES:])


def _signal_name(number: int) -> str:
    """Real-time signals have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
