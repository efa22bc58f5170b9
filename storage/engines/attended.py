"""A worker with a supervisor of its own, which starts it again: what a job or an actor runs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from pathlib import Path
import signal
import time

from storage.engines.engine import MISTAKE
from storage.engines.processes import Processes
from storage.engines.processes import processes
from storage.engines.supervisor import Crew
from storage.engines.supervisor import STRIKES
from storage.engines.supervisor import WorkersFailed


__all__ = ["LOG", "STOPPED", "Attended", "status", "write_status"]

STOPPED = 130
"""Exit status of one that was told to end, as a shell counts it."""
LOG = "0.log"
STATUS = "status"
WELL_SECONDS = 600.0  # nobody here knows the trials: a worker that lived so long was well
PATIENCE_SECONDS = 8.0  # with one that is to end; an engine has some 30 for all
LOOK_SECONDS = 0.1


class Attended:
    """A worker far away.

    Args:
        command: What it runs.
        folder: For its log and, when it is over, its exit status; all machines see it.
        deaf: Signals that are for the supervisor alone.
        strikes: Deaths in a row after which it is given up.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        deaf: Collection[signal.Signals] = (),
        strikes: int = STRIKES,
    ) -> None:
        self._command, self._folder, self._deaf = command, folder, deaf
        self._strikes = strikes
        self._end: Callable[[float], None] = lambda patience: None

    def run(self, heard: Sequence[int], by_itself: float = 0.0) -> int:
        """The exit status: that of the worker, 1 when it is given up, STOPPED when told to end.

        Args:
            heard: Something in it tells it to end.
            by_itself: Seconds that the worker then has before it is told so, because it has heard
                of it too: a second signal to end would be one that cannot wait.
        """
        (self._folder / STATUS).unlink(missing_ok=True)
        with processes(self._command, 1, self._folder, WELL_SECONDS, self._deaf) as engine:
            found = self._attend(engine, heard, by_itself)
        write_status(self._folder, found)
        return found

    def end(self, patience: float) -> None:
        """Ends the worker, from a signal's handler in the middle of `run`.

        Args:
            patience: Seconds it has for its trial.
        """
        self._end(patience)

    def _attend(self, engine: Processes, heard: Sequence[int], by_itself: float) -> int:
        crew, began = Crew(engine, 1, strikes=self._strikes), time.monotonic()
        self._end = lambda patience: engine.stop(crew.workers, patience, lambda: False)
        try:
            stopped = crew.run(lambda: int((time.monotonic() - began) / WELL_SECONDS), heard)
            return STOPPED if stopped else 0
        except WorkersFailed as error:
            print(error, flush=True)
            return MISTAKE if error.mistake else 1
        finally:
            if heard:
                _wait_for(crew, by_itself)
            self._end(PATIENCE_SECONDS)


def _wait_for(crew: Crew, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(w.ended() is None for w in crew.workers):
        time.sleep(LOOK_SECONDS)


def write_status(folder: Path, found: int) -> None:
    """How the one of that folder ended."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATUS).write_text(str(found))


def status(folder: Path) -> int | None:
    """How the one of that folder ended; None while it has not, or where nobody knows."""
    file = folder / STATUS
    text = file.read_text() if file.exists() else ""
    return int(text) if text else None
