"""Runs jobs and exams in rank processes that stay warm; starts, watches and ends them; no torch.

    with Gang(experiment, ranks=2) as gang:
        study.optimize(LoraObjective(experiment, gang, folder))

Each rank is a process with the base, the data and the tasks loaded once. All ranks of a gang train
one trial together, and whatever happens to one of them is a trial that failed: the gang ends all
its ranks and starts new ones at the next job.

A gang is on one machine, unless a launcher starts its ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math
from multiprocessing.connection import wait
from pathlib import Path
import sys
import time

from objectives.errors import UserError
from objectives.gang.launched import launch
from objectives.gang.launched import LaunchFailed
from objectives.gang.rank_process import Rank
from objectives.gang.rank_process import rank_environments
from objectives.gang.wire import Mistake
from objectives.gang.wire import Raised
from objectives.gang.wire import Ready
from objectives.gang.wire import Setup
from objectives.job import Answered
from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Failed
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Questions
from objectives.job import Report
from objectives.job import Validation
from objectives.settings.config import Experiment


__all__ = ["Gang", "GangFailed"]

COMMAND = (sys.executable, "-m", "objectives.gang.rank")
SETTLE_SECONDS = 30.0  # for the other ranks to say that they, too, have failed
ALIKE = 3  # exceptions with one text in a row that are a mistake in the program


class GangFailed(RuntimeError):
    """It could not start, or every trial ends with the same exception; no trial is to blame."""


class _Fault(Exception):
    """A job ended and left ranks in a state that nobody knows."""

    def __init__(self, outcome: OutOfMemory | Failed) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Gang:
    """A `Trainer` in other processes. Not for several threads at once."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        ranks: int = 1,
        devices: Sequence[str] = (),
        cache: Path | None = None,
        time_limit: float | None = None,
        warm: bool = True,
        test: bool = False,
        launcher: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Starts nothing yet.

        Args:
            experiment: What the ranks load.
            ranks: Processes that train a trial together.
            devices: GPUs as CUDA_VISIBLE_DEVICES names them, one for each rank, or none at all:
                then each rank takes what it finds, and several ranks the CPU.
            cache: Folder of the tokenised data.
            time_limit: Seconds a job may take in ranks that are ready; then it has failed.
            warm: Whether the ranks serve the next job too; otherwise it gets new ones.
            test: Whether there will be exams: then the ranks load the test tasks as well.
            launcher: What starts the ranks, see `launched`; by default the gang does.
            command: What a rank of its own runs; it gets the number of its pipe as last argument.
        """
        self._launcher = launcher
        self._experiment, self._cache, self._command = experiment, cache, command
        self._count, self._devices = ranks, devices
        self._time_limit, self._warm, self._test = time_limit, warm, test
        self._ranks: list[Rank] = []
        self._ready = Ready("", (), "minimize")  # of the ranks that are there
        self._raised: list[str] = []  # since a job last went well

    def __enter__(self) -> Gang:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Ready:
        """Waits until all ranks are ready; nothing to do if they are.

        Returns:
            What they have loaded.

        Raises:
            UserError: A rank says what the user can mend.
            GangFailed: A rank could not load, for another reason.
        """
        if self._ranks and all(rank.process.poll() is None for rank in self._ranks):
            return self._ready
        self.close()  # one has died since the last job
        try:
            self._ready = self._start()
        except BaseException:
            self.close()
            raise
        return self._ready

    def close(self) -> None:
        """Ends the ranks at once, and what they may have started."""
        for rank in self._ranks:
            rank.hang_up()
        for rank in self._ranks:
            rank.end()
        self._ranks = []

    def __call__(self, job: Job, report: Report) -> Outcome:
        """Runs a job in all ranks.

        Raises:
            UserError, GangFailed: See `start`.
            UserError: A rank says what the user can mend, as that the disk is full.
            GangFailed: The third job in a row ended with the same exception.
        """
        outcome = self._run(job, report, self._time_limit)
        assert not isinstance(outcome, Examined | list)
        return outcome

    def examine(self, exam: Exam) -> Examined | OutOfMemory | Failed:
        """Runs an exam in all ranks, for as long as it takes. Raises as a job does."""
        result = self._run(exam, lambda _: False, None)
        assert isinstance(result, Examined | OutOfMemory | Failed)
        return result

    def ask(self, questions: Questions) -> list[Answered] | Failed:
        """Runs it in all ranks, for as long as it takes. Raises as a job does."""
        result = self._run(questions, lambda _: False, None)
        assert isinstance(result, list | Failed)
        return result

    def _run(
        self, work: Job | Exam | Questions, report: Report, limit: float | None
    ) -> Outcome | Examined | list[Answered]:
        self.start()
        outcome: Outcome | Examined | list[Answered]
        try:
            outcome = self._together(work, report, limit)
            self._raised = []
        except _Fault as fault:
            self.close()
            outcome = fault.outcome
        except BaseException:  # of the report, or an interruption
            self.close()
            raise
        if not self._warm:
            self.close()
        return outcome

    def _start(self) -> Ready:
        if self._launcher:
            self._launch()
        else:
            self._spawn()
        for rank in self._ranks:
            rank.send(Setup(self._experiment, self._cache, rank.number, self._test))
        silent = {rank.pipe: rank for rank in self._ranks}
        ready = []
        while silent:
            for pipe in wait(list(silent)):
                ready.append(_ready(silent.pop(pipe)))  # type: ignore[call-overload]
        fingerprints = {each.samples_fingerprint for each in ready}
        if len(fingerprints) > 1:
            told = ", ".join(fingerprints)
            raise UserError(
                f"the ranks have loaded different samples (fingerprints {told}): "
                "data or tokenizer is not the same on all machines; copy it from one to the others"
            )
        return ready[0]

    def _launch(self) -> None:
        try:
            self._ranks = launch(self._launcher, self._count)
        except LaunchFailed as error:
            raise GangFailed(str(error)) from None

    def _spawn(self) -> None:
        environments = rank_environments(self._count, self._devices)
        for number, environment in enumerate(environments):
            self._ranks.append(Rank.spawn(number, self._command, environment))

    def _together(
        self, work: Job | Exam | Questions, report: Report, limit: float | None
    ) -> Outcome | Examined | list[Answered]:
        """The outcome on which all ranks agree."""
        for rank in self._ranks:
            rank.send(work)
        deadline = time.monotonic() + (limit or math.inf)
        outcomes: dict[int, Outcome | Examined | list[Answered]] = {}
        while len(outcomes) < len(self._ranks):
            rank = self._next(outcomes, deadline)
            message = rank.receive()
            if isinstance(message, Validation):
                self._answer(report(message))
                continue
            self._check(rank, message)
            outcomes[rank.number] = message
            if isinstance(message, Failed):
                deadline = min(deadline, time.monotonic() + SETTLE_SECONDS)
        return _joined(outcomes)

    def _next(
        self, outcomes: dict[int, Outcome | Examined | list[Answered]], deadline: float
    ) -> Rank:
        """The rank that says something next, of those whose outcome is not there."""
        silent = {rank.pipe: rank for rank in self._ranks if rank.number not in outcomes}
        left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        for pipe in wait(list(silent), timeout=left):
            return silent[pipe]  # type: ignore[index]
        failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Failed)]
        numbers = " and ".join(str(rank.number) for rank in silent.values())
        late = f"rank {numbers} not done within the time limit of {self._time_limit} s"
        raise _Fault(failed[0] if failed else Failed(late))

    def _answer(self, stop: bool) -> None:
        """To all ranks: they are at the same step, and go on or stop together."""
        for rank in self._ranks:
            rank.send(stop)

    def _check(self, rank: Rank, message: object) -> None:
        """Ends the job where the other ranks may wait for this one for ever."""
        if message is None:
            raise _Fault(Failed(rank.how_it_ended()))
        if isinstance(message, Mistake):
            raise UserError(message.message)
        if isinstance(message, Raised):
            killed = [other for other in self._ranks if other.was_killed()]
            if killed:  # this rank only noticed it
                raise _Fault(Failed(killed[0].how_it_ended()))
            raise _Fault(self._failed(f"rank {rank.number} raised {message.message}"))
        if isinstance(message, OutOfMemory) and len(self._ranks) > 1:
            raise _Fault(message)

    def _failed(self, message: str) -> Failed:
        self._raised = [*self._raised, message][-ALIKE:]
        if self._raised == [message] * ALIKE:
            raise GangFailed(f"{message}, {ALIKE} times in a row")
        return Failed(message)


def _ready(rank: Rank) -> Ready:
    message = rank.receive()
    if isinstance(message, Mistake):
        raise UserError(message.message)
    if isinstance(message, Raised):
        raise GangFailed(f"rank {rank.number} could not load: {message.message}")
    if not isinstance(message, Ready):
        raise GangFailed(f"{rank.how_it_ended()} while loading")
    return message


def _joined(
    outcomes: dict[int, Outcome | Examined | list[Answered]],
) -> Outcome | Examined | list[Answered]:
    """A failure if there is one; otherwise rank 0's, with the memory of that which took most."""
    failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Failed)]
    first = failed[0] if failed else outcomes[0]
    if isinstance(first, Failed | Pruned | Examined | list):
        return first
    peaks = [o.peak_memory for o in outcomes.values() if isinstance(o, type(first))]
    return replace(first, peak_memory=max(peaks))
