"""What NOMAD was asked and told so far: a process, begun anew where an answer has changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import weakref

from optuna_partition._nomad import process
from optuna_partition._nomad.process import Problem


__all__ = ["Answer", "Coordinates", "Ended", "Run"]

Coordinates = tuple[float, ...]
Answer = float | None
"""A value to minimise, or None where the evaluation failed."""

_LARGEST = 1e300  # NOMAD's arithmetic does not know infinity


class Ended(Exception):
    """NOMAD suggests nothing more; the text says why."""


class Run:
    """One run of NOMAD on a problem. What it has been told cannot be taken back."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._told: list[tuple[Coordinates, Answer]] = []
        self._asked: Coordinates | None = None
        self._why_ended: str | None = None
        self._pid = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(process.__file__)), json.dumps(problem)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, _end, self._process, self._pid)

    def holds(self, problem: Problem, answer: Callable[[Coordinates], Answer]) -> bool:
        """Whether NOMAD, asked anew, would be told the same, in this process."""
        if self.problem != problem or self._pid != os.getpid():
            return False
        return all(answer(point) == told for point, told in self._told)

    def ask(self) -> Coordinates:
        """The point whose value NOMAD waits for.

        Raises:
            Ended: It has converged or crashed.
        """
        if self._why_ended is not None:
            raise Ended(self._why_ended)
        if self._asked is None:
            self._asked = self._next()
        return self._asked

    def tell(self, answer: Answer) -> None:
        """Answers for the point of the last `ask`."""
        assert self._asked is not None and self._process.stdin is not None
        self._told.append((self._asked, answer))
        self._asked = None
        value = None if answer is None else min(max(answer, -_LARGEST), _LARGEST)
        with suppress(BrokenPipeError):  # it is dead, as the next `ask` finds
            print(json.dumps(value), file=self._process.stdin, flush=True)

    def _next(self) -> Coordinates:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        point = json.loads(line) if line else None
        if point is not None:
            return tuple(point)
        status = self._process.wait()
        self._why_ended = "it has converged" if line else _death(status)
        raise Ended(self._why_ended)


def _death(status: int) -> str:
    """Why there is no process any more, by its exit status."""
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:  # no signal, or none with a name
        return f"its process ended with status {status}"


def _end(process: subprocess.Popen[str], owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork's copy: the process is its parent's
    process.kill()
    process.communicate()
