"""SLURM's queue, by its own programs: which jobs a name has, and an end to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import subprocess


__all__ = ["GOES_ON", "Listed", "cancel", "listed", "queue_again"]

GOES_ON = frozenset(
    "PENDING RUNNING SUSPENDED CONFIGURING COMPLETING REQUEUED REQUEUE_HOLD REQUEUE_FED RESIZING "
    "SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED".split()
)
"""States of a job that is not over, or not yet told to be."""
_FORMAT = "%i|%T|%k|%r"
_SECONDS = 60  # for a controller that is busy


@dataclass(frozen=True)
class Listed:
    """A job of the queue.

    Attributes:
        job: Its number, "12" or "12_3".
        state: In SLURM's word.
        comment: What it was given.
        reason: Why it waits.
    """

    job: str
    state: str
    comment: str
    reason: str


def listed(name: str) -> dict[str, Listed] | None:
    """The user's jobs of that name, by number, and those that are over for some minutes.

    None when SLURM does not answer.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--states=all"]
    answer = _run([*command, f"--name={name}", f"--format={_FORMAT}"])
    if answer is None:
        return None
    jobs = [Listed(*line.split("|", 3)) for line in answer.splitlines() if line.count("|") >= 3]
    return {job.job: job for job in jobs}


def cancel(jobs: Sequence[str]) -> None:
    """Ends them: SIGTERM, and half a minute later SIGKILL, unless the site says otherwise."""
    if jobs:
        _run(["scancel", *jobs])


def queue_again(job: str) -> None:
    """Ends a job, which begins anew when it has its turn."""
    _run(["scontrol", "requeue", job])


def _run(command: Sequence[str]) -> str | None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return ended.stdout if ended.returncode == 0 else None
