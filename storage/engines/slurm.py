"""The engine of SLURM: each worker is a job, which outlives whoever submitted it.

submitit writes the job's script, pickles what the job runs, and submits it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import redirect_stderr
from dataclasses import dataclass
from dataclasses import field
import io
import os
from pathlib import Path
import shutil
import time
from types import MappingProxyType
from typing import Any

from storage.engines.attended import LOG
from storage.engines.attended import status
from storage.engines.attended import STOPPED
from storage.engines.engine import End
from storage.engines.engine import Ended
from storage.engines.engine import mark
from storage.engines.engine import Worker
from storage.engines.errors import EngineError
from storage.engines.processes import last_words
from storage.engines.slurm_job import InJob
from storage.engines.slurm_job import LAST
from storage.engines.slurm_job import WORKER
from storage.engines.slurm_options import minutes
from storage.engines.slurm_options import sbatch_options
from storage.engines.slurm_queue import cancel
from storage.engines.slurm_queue import GOES_ON
from storage.engines.slurm_queue import Listed
from storage.engines.slurm_queue import listed
from storage.engines.supervisor import STRIKES


__all__ = ["Slurm"]

EARLY_SECONDS = 60.0
PAUSE_SECONDS = 1.0
POLL_SECONDS = 5.0  # between two questions to SLURM, which has other users
SIGNAL_SECONDS = 90  # before its time is over a job is told so
LATE_SECONDS = 30.0  # for what a job wrote at its end, on a network file system
OFTEN = 10**6  # times a job may run out of time


@dataclass
class _Job:
    """A worker, or what comes last."""

    number: str
    engine: Slurm
    submitted: float = field(default_factory=time.monotonic)
    running: float | None = None  # since when, as far as was seen
    gone: float | None = None

    @property
    def output(self) -> Path:
        return self.engine.folder / self.number / LOG

    @property
    def log(self) -> str:
        """One that has not begun has SLURM's only."""
        slurm_s = self.engine.folder / f"{self.number}_0_log.err"
        return str(self.output if self.output.exists() else slurm_s)

    def last_words(self) -> str:
        return last_words(Path(self.log))

    def ended(self) -> Ended | None:
        if self.engine.asked <= self.submitted:
            return None
        found = self.engine.jobs.get(self.number)
        if found is not None and found.state in GOES_ON:
            if found.state == "RUNNING" and self.running is None:
                self.running = time.monotonic()
            return None
        end = self._end("" if found is None else found.state)
        if end is None:
            return None
        lived = 0.0 if self.running is None else time.monotonic() - self.running
        return Ended(end[0], f"(job {self.number}) {end[1]}", lived)

    def _end(self, state: str) -> tuple[End, str] | None:
        found = status(self.engine.folder / self.number)
        if state == "CANCELLED" or (found == STOPPED and state in ("", "COMPLETED", "FAILED")):
            return End.LEFT, "was cancelled"
        if found is not None and state in ("", "COMPLETED", "FAILED"):
            return End.of(found), f"exited {found}"
        self.gone = self.gone or time.monotonic()
        if state in ("", "COMPLETED") and time.monotonic() - self.gone < LATE_SECONDS:
            return None
        return End.DIED, f"ended as {state}" if state else "is gone"


class Slurm:
    """Workers as jobs of SLURM.

    Args:
        name: Of all jobs of a study: by it another call finds them.
        command: What a worker runs.
        folder: For scripts and logs; all machines see it.
        options: Of sbatch, for each job.
        poll: Seconds between two questions to SLURM.

    Raises:
        EngineError: There is no SLURM or no submitit here, or an option is no user's.
    """

    early = EARLY_SECONDS
    pause = PAUSE_SECONDS

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        options: Mapping[str, str],
        poll: float = POLL_SECONDS,
    ) -> None:
        self.folder = folder.absolute()
        self._name, self._command, self._poll = name, command, poll
        self._worker = f"{WORKER} {mark(command)}"
        self._options = sbatch_options(options)
        self._submitit = _submitit()
        self.jobs: Mapping[str, Listed] = {}
        self.asked = 0.0  # when SLURM was, last

    def start(self, places: Sequence[int]) -> Sequence[Worker]:
        return self._submit(len(places), self._command, self._worker)

    def found(self) -> Sequence[Worker]:
        """Those that run first: a job that only waits is cheap to send away."""
        if not self._ask():
            raise EngineError("--on slurm: SLURM does not answer; try again when squeue does")
        jobs = [job for job in self._going_on(WORKER) if job.state != "COMPLETING"]
        jobs.sort(key=lambda job: job.state != "RUNNING")
        return [_Job(job.job, self, submitted=0.0) for job in jobs]

    def others(self) -> int:
        return sum(job.comment != self._worker for job in self._going_on(WORKER))

    def found_last(self, *, begun: bool) -> Sequence[Worker]:
        self._ask()
        jobs = sorted(self._going_on(LAST), key=lambda job: job.state != "PENDING")
        there = [j for j in jobs if j.state == "PENDING" or (begun and j.state != "COMPLETING")]
        return [_Job(job.job, self, submitted=0.0) for job in there]

    def start_last(self, command: Sequence[str]) -> Worker:
        """A job that begins when those there are have ended, and no other of the name runs."""
        self._ask()
        there = sorted({job.job.partition("_")[0] for job in self._going_on(WORKER)})
        after = ":".join(["afterany", *there])
        dependency = f"singleton,{after}" if there else "singleton"
        return self._submit(1, command, LAST, {"dependency": dependency})[0]

    def look(self) -> str | None:
        if time.monotonic() - self.asked > self._poll:
            self._ask()
        jobs = list(self._going_on(WORKER))
        if not jobs:
            return None
        states = Counter(job.state.lower() for job in jobs)
        reasons = sorted({job.reason for job in jobs if job.state == "PENDING"} - {"None"})
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        why = f" ({', '.join(reasons)})" if reasons else ""
        return f"workers        {told}{why}"

    def stop(self, workers: Sequence[Worker], patience: float, hurry: Callable[[], bool]) -> None:
        """At SLURM's own pace; nobody waits for it."""
        cancel([worker.number for worker in workers if isinstance(worker, _Job)])

    def _ask(self) -> bool:
        """Whether there was an answer; without one, what was known stays."""
        asked = time.monotonic()
        answer = listed(self._name)
        if answer is not None:
            self.jobs, self.asked = answer, asked
        return answer is not None

    def _going_on(self, comment: str) -> list[Listed]:
        jobs = self.jobs.values()
        return [j for j in jobs if j.comment.startswith(comment) and j.state in GOES_ON]

    def _submit(
        self,
        count: int,
        command: Sequence[str],
        comment: str,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> list[_Job]:
        executor = self._executor(comment, more)
        job = InJob(tuple(command), self.folder, 1 if comment == LAST else STRIKES)
        failed = self._submitit.core.utils.FailedJobError
        try:
            with redirect_stderr(io.StringIO()), _outside_of_jobs(), executor.batch():
                jobs = [executor.submit(job) for _ in range(count)]
        except failed as error:
            raise _refused(str(error)) from None
        return [_Job(job.job_id, self) for job in jobs]

    def _executor(self, comment: str, more: Mapping[str, str]) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        executor = self._submitit.SlurmExecutor(self.folder, max_num_timeout=OFTEN)
        executor.update_parameters(
            job_name=self._name,
            time=minutes(self._options["time"]),
            signal_delay_s=SIGNAL_SECONDS,
            wckey=None,
            srun_args=["--cpu-bind=none"],  # all processors of the job are the worker's
            array_parallelism=10**4,
            additional_parameters={
                **{name: value for name, value in self._options.items() if name != "time"},
                "comment": comment,
                "requeue": True,
                **more,
            },
        )
        return executor


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """A job hands its environment on, and what it says of one job would be of another."""
    ours = ("SLURM_", "SRUN_", "SBATCH_")
    inside = [n for n in os.environ if n.startswith(ours) and n != "SLURM_CONF"]
    kept = {name: os.environ.pop(name) for name in inside} if "SLURM_JOB_ID" in os.environ else {}
    try:
        yield
    finally:
        os.environ.update(kept)


def _submitit() -> Any:
    if shutil.which("sbatch") is None:
        raise EngineError(
            "--on slurm: there is no SLURM here (sbatch is not on the PATH); run the command on a "
            "machine that submits jobs, or leave --on out"
        )
    try:
        import submitit
    except ImportError:
        raise EngineError(
            "--on slurm: submitit is missing; install it with "
            '`pip install "optuna-partition[slurm]"`'
        ) from None
    return submitit


def _refused(said: str) -> EngineError:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in said.splitlines()]
    why = "; ".join(line for line in lines if line) or "it says no reason"
    return EngineError(
        f"--on slurm: SLURM refuses the job ({why}); correct --slurm, or ask the site"
    )
