"""Keeps the workers of an engine at a number: starts, replaces and gives up; starts no process."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import signal
import time
from types import FrameType

from storage._away import broke_off
from storage.engines.engine import End
from storage.engines.engine import Ended
from storage.engines.engine import Engine
from storage.engines.engine import Worker
from storage.engines.errors import EngineError


__all__ = ["Crew", "WorkersFailed", "signals_heard"]

STRIKES = 3  # deaths in a row after which a worker is given up
REFUSED_SECONDS = 60.0  # before the next start, where the engine takes nobody
PAUSE_SECONDS = 1.0  # before a start, for every death in a row: a database restarts in some


class WorkersFailed(RuntimeError):
    """No worker is left; the message is what the last of them said.

    Attributes:
        mistake: Whether it exited with MISTAKE, and its message is for the user as it is.
    """

    def __init__(self, message: str, *, mistake: bool) -> None:
        super().__init__(message)
        self.mistake = mistake


@dataclass
class _Place:
    """One place among the workers, and who fills it."""

    number: int
    worker: Worker | None = None  # also one that has ended: its log is read
    ended: bool = True
    finished: int = 0  # trials of the study, when the worker was started
    strikes: int = 0
    due: float = 0.0  # when the next worker may start
    over: bool = False

    def fill(self, worker: Worker, finished: int) -> None:
        self.worker, self.finished, self.ended = worker, finished, False

    def is_due(self) -> bool:
        return not self.over and self.ended and time.monotonic() >= self.due

    def last_words(self) -> str:
        return "" if self.worker is None else self.worker.last_words()

    @property
    def log(self) -> str:
        return "" if self.worker is None else self.worker.log


class Crew:
    """So many workers of an engine.

    Args:
        engine: Starts and watches them.
        count: Number of workers.
        say: Where a line about a death, or about the engine, goes.
        strikes: Deaths in a row after which a worker is given up.
    """

    def __init__(
        self,
        engine: Engine,
        count: int,
        say: Callable[[str], object] = print,
        strikes: int = STRIKES,
    ) -> None:
        self._engine, self._say, self._strikes = engine, say, strikes
        self._told: str | None = None
        self._places = [_Place(number) for number in range(count)]

    @property
    def workers(self) -> list[Worker]:
        """Those that have not been seen to end."""
        return [p.worker for p in self._places if p.worker is not None and not p.ended]

    def adopt(self, workers: Sequence[Worker], finished: int) -> Sequence[Worker]:
        """Takes workers that run already into the places; those for whom there is none.

        Args:
            workers: The dearest first.
            finished: Trials of the study that are.
        """
        for place, worker in zip(self._places, workers, strict=False):
            place.fill(worker, finished)
        return workers[len(self._places) :]

    def start(self, finished: int) -> None:
        """Fills the places that are due.

        Args:
            finished: Trials of the study that are.

        Raises:
            EngineError: The engine takes nobody.
        """
        due = [place for place in self._places if place.is_due()]
        if due:
            started = self._engine.start([place.number for place in due])
            for place, worker in zip(due, started, strict=True):
                place.fill(worker, finished)

    def run(
        self,
        look: Callable[[], int],
        heard: Sequence[int],
        late: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Keeps them at their number until each has ended with nothing left to do.

        A worker that dies is started again. One that dies so many times in a row, each time
        early or before any trial was finished, is given up. One that somebody sent away is not
        replaced. What the engine refuses here is tried again: it has taken workers before.

        Args:
            look: Called several times a second, to show progress; how many trials are finished.
                Where the storage breaks off in the middle, nobody is started or given up until a
                look succeeds again.
            heard: Signals that have come: the first ends this.
            late: Asked as often as `look`: whether to end now.

        Returns:
            Whether a signal ended it.

        Raises:
            WorkersFailed: All workers are given up, or one met a mistake before any trial was
                finished.
        """
        before = look()
        while not all(place.over for place in self._places):
            finished = _looked(look)
            if heard:
                return True
            if late():
                return False
            if finished is not None:
                self._tend(finished, mistakes=finished == before)
            time.sleep(self._engine.pause)
        _looked(look)
        if all(place.strikes >= self._strikes for place in self._places):
            last = self._places[-1]
            raise WorkersFailed(
                f"no worker is left; the last one's log, {last.log}, ends:\n{last.last_words()}",
                mistake=False,
            )
        return False

    def _tend(self, finished: int, mistakes: bool) -> None:
        """Looks how workers have ended, and fills the places that are due."""
        told = self._engine.look()
        if told is not None and told != self._told:
            self._told = told
            self._say(told)
        for place in self._places:
            ended = None if place.ended or place.worker is None else place.worker.ended()
            if ended is None:
                continue
            place.ended = True
            if ended.end is End.MISTAKE and mistakes:
                raise WorkersFailed(place.last_words(), mistake=True)
            self._bury(place, ended, finished)
        try:
            self.start(finished)
        except EngineError as error:
            self._put_off()
            self._say(f"{error}; tried again in {REFUSED_SECONDS:.0f} s")

    def _put_off(self) -> None:
        for place in self._places:
            place.due = max(place.due, time.monotonic() + REFUSED_SECONDS)

    def _bury(self, place: _Place, ended: Ended, finished: int) -> None:
        if ended.end is End.DONE:
            place.over = True
            return
        if ended.end is End.LEFT:
            place.over, then = True, "not started again"
        else:
            well = ended.lived >= self._engine.early and finished > place.finished
            place.strikes = 0 if well else place.strikes + 1
            place.over = place.strikes >= self._strikes
            place.due = time.monotonic() + PAUSE_SECONDS * place.strikes
            given_up = f"{self._strikes} times in a row: given up"
            then = given_up if place.over else "started again"
        self._say(f"worker {place.number} {ended.how}, {then}; its log is {place.log}")


def _looked(look: Callable[[], int]) -> int | None:
    """How many trials are finished; None while the storage is away."""
    try:
        return look()
    except Exception as error:
        if not broke_off(error):
            raise
        return None


@contextmanager
def signals_heard() -> Iterator[list[int]]:
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
