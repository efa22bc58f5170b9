"""What an engine can do: start workers, find, watch and stop them; names and values only."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from enum import auto
from enum import Enum
import hashlib
from pathlib import Path
from typing import Protocol


__all__ = ["MISTAKE", "Cluster", "End", "Ended", "Engine", "Worker", "mark"]

MISTAKE = 2
"""Exit status of a worker that was asked for something impossible: the next one would fail too."""


class End(Enum):
    """How a worker ended: with nothing left to do, refused, dead, or sent away by somebody."""

    DONE = auto()
    MISTAKE = auto()
    DIED = auto()
    LEFT = auto()

    @classmethod
    def of(cls, status: int) -> End:
        """By an exit status."""
        return {0: cls.DONE, MISTAKE: cls.MISTAKE}.get(status, cls.DIED)


@dataclass(frozen=True)
class Ended:
    """A worker's end.

    Attributes:
        end: Whether another is to take its place.
        how: For people, after "worker 3".
        lived: Seconds that it ran.
    """

    end: End
    how: str
    lived: float


class Worker(Protocol):
    """One that was started."""

    @property
    def output(self) -> Path:
        """What it writes, once it has begun."""

    @property
    def log(self) -> str:
        """Where people find why it ended."""

    def ended(self) -> Ended | None:
        """How it ended; None while it runs or waits."""

    def last_words(self) -> str:
        """The end of its log."""


class Engine(Protocol):
    """Where workers run."""

    @property
    def early(self) -> float:
        """Seconds a worker runs that is well."""

    @property
    def pause(self) -> float:
        """Seconds between two looks."""

    def start(self, places: Sequence[int]) -> Sequence[Worker]:
        """Starts a worker for each place, which are numbered from 0."""

    def look(self) -> str | None:
        """Asks the engine, where it is time; how its workers are, None for nothing to tell of."""

    def stop(self, workers: Sequence[Worker], patience: float, hurry: Callable[[], bool]) -> None:
        """Ends workers, gently at first.

        Args:
            workers: Of this engine.
            patience: Seconds they have for ending their trial.
            hurry: Whether to wait no longer, asked while waiting.
        """


class Cluster(Engine, Protocol):
    """An engine whose workers outlive whoever started them."""

    def found(self) -> Sequence[Worker]:
        """Those that an earlier call has started and that still run or wait, the dearest first."""

    def others(self) -> int:
        """How many of those found last run another command than this one's workers."""

    def found_last(self, *, begun: bool) -> Sequence[Worker]:
        """Those who come last and that earlier calls have started, those first who still wait.

        Args:
            begun: Whether those count who have begun: more trials want another one after them.
        """

    def start_last(self, command: Sequence[str]) -> Worker:
        """Has a command run when all have ended who are there, whoever is still here then."""


def mark(command: Sequence[str]) -> str:
    """Of those who run this command, and no other."""
    return hashlib.sha256("\0".join(command).encode()).hexdigest()[:8]
