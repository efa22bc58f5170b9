"""Whether a point is given up because runs end there; reads the trials of that point alone."""

from __future__ import annotations

from collections.abc import Iterable
import math

from optuna.trial import FrozenTrial

from optuna_partition._study.attributes import says_stopped


__all__ = ["ATTEMPTS", "is_given_up"]

ATTEMPTS = 3
"""How often workers die at a point before it counts as failed."""
_STANDSTILLS = 10
"""How often runs are stopped there and came no farther than one before, until it does."""


def is_given_up(interrupted: Iterable[FrozenTrial]) -> bool:
    """Whether a point counts as failed, though nothing says that it is bad.

    Workers that died there may have died of it. Who stops a run says nothing of its point. But
    where each run begins anew and none comes farther, the point takes longer than a run may.

    Args:
        interrupted: The trials of one point that ended with their runs.
    """
    deaths = standstills = 0
    farthest = -math.inf
    for trial in sorted(interrupted, key=lambda trial: trial.number):
        step = max(trial.intermediate_values, default=-math.inf)
        if not says_stopped(trial):
            deaths += 1
        elif step <= farthest:
            standstills += 1
        farthest = max(farthest, step)
    return deaths >= ATTEMPTS or standstills >= _STANDSTILLS
