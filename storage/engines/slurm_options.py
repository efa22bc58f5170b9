"""What a user says to sbatch, checked; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
import math
import re

from storage.engines.errors import EngineError


__all__ = ["minutes", "sbatch_options"]

OURS = {
    "array": "the number of workers is --workers",
    "comment": "it tells workers from the final test",
    "dependency": "the final test waits for the workers",
    "error": "logs are in --output",
    "job-name": "it is how the jobs of a study are found again",
    "nodes": "a worker is one process, with all GPUs of a trial on one machine",
    "ntasks": "a worker is one process; its GPUs are gres=gpu:2 or gpus=2",
    "ntasks-per-node": "a worker is one process; its GPUs are gres=gpu:2 or gpus=2",
    "open-mode": "a job that is queued again goes on in its log",
    "output": "logs are in --output",
    "signal": "it ends a trial in time",
}
"""Options of sbatch that are not the user's, and why."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def sbatch_options(given: Mapping[str, str]) -> dict[str, str]:
    """Options of sbatch by their long names.

    Raises:
        EngineError: One is not the user's to give, or there is no time limit.
    """
    found = {name.replace("_", "-"): value for name, value in given.items()}
    for name, why in OURS.items():
        if name in found:
            raise EngineError(
                f"--slurm {name}={found[name]}: is given already ({why}); leave it out"
            )
    if "time" not in found:
        raise EngineError(
            "--slurm: the time of a job is missing; add for example time=08:00:00 (a job whose "
            "time is over is queued again, and goes on)"
        )
    minutes(found["time"])
    return found


def minutes(text: str) -> int:
    """Of a time as SLURM writes it: minutes, [days-]hours:minutes:seconds, days-hours.

    Raises:
        EngineError: It is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise EngineError(
            f"--slurm time={text}: must be a time as SLURM writes it; for example 90 (minutes), "
            "08:00:00 or 2-12:00:00"
        )
    days, *rest = (None if part is None else int(part) for part in found.groups())
    parts = [part for part in rest if part is not None]
    if days is not None:  # hours come first
        hours, mins, seconds = [*parts, 0, 0][:3]
    else:
        hours, mins, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    whole = ((days or 0) * 24 + hours) * 60 + mins + math.ceil(seconds / 60)
    if whole == 0:
        raise EngineError(f"--slurm time={text}: must be more than 0; for example 08:00:00")
    return whole
