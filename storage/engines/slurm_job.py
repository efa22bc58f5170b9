"""What a job of SLURM runs: a worker and its supervisor, which give way in order.

submitit pickles it, calls it in the job, and has SLURM queue the job again when it must give way.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

from storage._process import NAME
from storage.engines.attended import Attended
from storage.engines.attended import STOPPED
from storage.engines.slurm_queue import cancel
from storage.engines.slurm_queue import listed
from storage.engines.slurm_queue import queue_again
from storage.engines.supervisor import signals_heard


__all__ = ["LAST", "WORKER", "InJob"]

WORKER, LAST = "worker", "last"
"""What a job's comment begins with."""
STOP_SECONDS = 60.0  # for ending the trial, of those that SLURM gives
BY_ITSELF_SECONDS = 20.0  # for a worker that SLURM has told to end, as all processes of the job
VERDICT_SECONDS = 5.0  # for SLURM, to say of a job that was told to end that it is cancelled


@dataclass(frozen=True)
class InJob:
    """A worker and its supervisor.

    Attributes:
        command: What the worker runs.
        folder: For what the jobs of a study write.
        strikes: Deaths in a row after which the worker is given up.
        here: The supervisor, once there is one.
    """

    command: tuple[str, ...]
    folder: Path
    strikes: int
    here: list[Attended] = field(default_factory=list, compare=False)

    def __call__(self) -> None:
        import submitit

        number = submitit.JobEnvironment().job_id
        os.environ[NAME] = number
        folder = self.folder / number
        attended = Attended(self.command, folder, [signal.SIGUSR2], self.strikes)
        self.here.append(attended)
        with signals_heard() as heard:
            found = attended.run(heard, by_itself=BY_ITSELF_SECONDS)
        if found == STOPPED:
            _give_way(number)
        if found:
            sys.exit(found)
        _send_away_who_waits()

    def checkpoint(self) -> Any:
        """Called by submitit when the job is to give way: it is queued again."""
        import submitit

        for attended in self.here:
            attended.end(STOP_SECONDS)
        return submitit.helpers.DelayedSubmission(replace(self, here=[]))


def _send_away_who_waits() -> None:
    """Nothing is left to do: the last one need not wait until they have had their turn."""
    jobs = listed(os.environ.get("SLURM_JOB_NAME", "")) or {}
    waiting = [job for job in jobs.values() if job.state == "PENDING"]
    cancel([job.job for job in waiting if job.comment.startswith(WORKER)])


def _give_way(number: str) -> None:
    """A job that was told to end, and is neither cancelled nor queued again, is being preempted.

    One that ended by itself then would be over. SLURM may be too busy to answer where many are
    cancelled at once, and that is no verdict: it ends a cancelled job while this waits.
    """
    name, deadline = os.environ.get("SLURM_JOB_NAME", ""), time.monotonic() + VERDICT_SECONDS
    while (jobs := listed(name)) is None or time.monotonic() < deadline:
        if jobs is not None and (number not in jobs or jobs[number].state != "RUNNING"):
            return
        time.sleep(1.0)
    if number in jobs and jobs[number].state == "RUNNING":
        queue_again(number)
