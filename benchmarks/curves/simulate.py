"""Workers in simulated time that train step by step; knows no sampler and no problem's formula.

A worker asks as soon as it is free. Every report is made at its time, so that a pruner sees what
it would see. Who asks for the hyperparameters of a training that was stopped goes on with that
training: its reports are made again, at no cost, and the pruner is asked again. Who asks for those
of a training that ended, or that runs, starts another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import heapq
from typing import Any
from typing import Protocol

from benchmarks.compare.instance import Params
from benchmarks.curves.instance import Curves
from benchmarks.curves.instance import Identity
from benchmarks.curves.instance import identity
from benchmarks.curves.instance import Training


@dataclass(frozen=True)
class Job:
    """What an entrant wants trained.

    Args:
        params: The hyperparameters.
        until: The step after which it wants the value, at most those of a full training.
        tag: What the entrant knows it by.
    """

    params: Params
    until: int
    tag: Any


class Entrant(Protocol):
    """A search with its pruner."""

    def ask(self) -> Job | None:
        """The next job; None if there is none until another has ended."""

    def report(self, job: Job, step: int, loss: float) -> bool:
        """Whether the job is to be stopped after this step."""

    def end(self, job: Job, value: float | None) -> None:
        """The job has had all its steps, or was stopped and has no value."""


@dataclass
class Running:
    """A job and how far it is."""

    job: Job
    training: Training
    attempt: int
    step: int


@dataclass(frozen=True)
class Finished:
    """A full training: when it ended, in steps of all workers and in time, and its true value."""

    spent: int
    time: float
    final: float


class Shelf:
    """The checkpoints of what was stopped."""

    def __init__(self) -> None:
        self._attempts: Counter[Identity] = Counter()
        self.stopped: dict[Identity, Running] = {}

    def take(self, job: Job, curves: Curves, seed: int) -> Running:
        """The job as far as it is already: an earlier one's if that was stopped."""
        key = identity(job.params)
        if key in self.stopped:
            earlier = self.stopped.pop(key)
            return Running(job, earlier.training, earlier.attempt, earlier.step)
        attempt = self._attempts[key]
        self._attempts[key] += 1
        return Running(job, curves.train(job.params, seed, attempt), attempt, 0)

    def put(self, running: Running) -> None:
        self.stopped[identity(running.job.params)] = running


class Workshop:
    """One run: so many workers, one entrant, a budget of steps.

    Attributes:
        spent: Steps paid by all workers.
        time: When the last of them ended.
        finished: Full trainings in the order of their ends.
        shelf: Holds at the end what was stopped and never taken up again.
    """

    def __init__(self, curves: Curves, entrant: Entrant, seed: int, budget: int) -> None:
        self._curves, self._entrant, self._seed, self._budget = curves, entrant, seed, budget
        self.spent = self.asks = 0
        self.time = 0.0
        self.finished: list[Finished] = []
        self.shelf = Shelf()

    def work(self, workers: int) -> None:
        """Until the budget is spent, or the entrant only asks for what is there already."""
        queue: list[tuple[float, int, Running]] = []
        while self.spent < self._budget:
            for running in self._begun(workers - len(queue)):
                heapq.heappush(queue, (self.time + running.training.seconds, self.asks, running))
            if not queue:
                return
            self.time, number, running = heapq.heappop(queue)
            if not self._step(running):
                heapq.heappush(queue, (self.time + running.training.seconds, number, running))

    def _begun(self, free: int) -> Iterator[Running]:
        """What the free workers start; what costs nothing is over at once."""
        while free and self.asks < 2 * self._budget:
            job = self._entrant.ask()
            if job is None:
                return
            self.asks += 1
            running = self.shelf.take(job, self._curves, self._seed)
            if not self._replay(running):
                free -= 1
                yield running

    def _replay(self, running: Running) -> bool:
        """Makes the reports of the steps it has already; whether it is over."""
        done = min(running.step, running.job.until)
        for step in range(1, done + 1):
            if self._reported(running, step):
                return self._over(running, stopped=True)
        return done == running.job.until and self._over(running, stopped=False)

    def _step(self, running: Running) -> bool:
        """Pays for a step; whether it is over."""
        self.spent += 1
        running.step += 1
        stopped = self._reported(running, running.step)
        if stopped or running.step == running.job.until:
            return self._over(running, stopped)
        return False

    def _reported(self, running: Running, step: int) -> bool:
        return self._entrant.report(running.job, step, running.training.reports[step - 1])

    def _over(self, running: Running, stopped: bool) -> bool:
        until, training = running.job.until, running.training
        self._entrant.end(running.job, None if stopped else training.answer(until))
        if until == self._curves.steps and not stopped:
            self.finished.append(Finished(self.spent, self.time, training.final))
        else:
            self.shelf.put(running)
        return True
