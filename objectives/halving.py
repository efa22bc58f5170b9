"""What runs out of memory is tried again with half the batch; knows jobs and exams, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import logging
from typing import TypeVar

from objectives.job import Exam
from objectives.job import Job
from objectives.job import OutOfMemory


__all__ = ["until_it_fits"]

_logger = logging.getLogger(__name__)

Work = TypeVar("Work", Job, Exam)
Result = TypeVar("Result")


def until_it_fits(name: str, work: Work, attempt: Callable[[Work], Result]) -> tuple[Work, Result]:
    """The last attempt, with batches that fit or cannot be smaller.

    Args:
        name: Whose work it is, for the warning about each attempt that did not fit.
        work: With the batches to begin with.
        attempt: Does it; `OutOfMemory` says which of the batches was too large.
    """
    result = attempt(work)
    while isinstance(result, OutOfMemory) and (smaller := _smaller(work, result)) != work:
        _logger.warning("%s: %s; tried with half of it", name, result.message)
        work = smaller
        result = attempt(work)
    return work, result


def _smaller(work: Work, outcome: OutOfMemory) -> Work:
    """With half the batch that was too large, or as it is."""
    if outcome.during == "training":
        return replace(work, micro_batch=max(1, work.micro_batch // 2))
    if work.scoring_batch == 1:
        return work
    half = replace(work, scoring_batch=work.scoring_batch // 2)
    return replace(half, trained=outcome.trained) if isinstance(half, Job) else half
