"""What one trial says: its values, and whether it is feasible; reads that trial alone."""

from __future__ import annotations

import math

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._rules.belief import AS_GOOD_AS_INFINITE
from optuna_partition._study.attributes import is_of_partition
from optuna_partition._study.attributes import says_failed
from optuna_partition._study.attributes import says_stopped


__all__ = [
    "ended_with",
    "has_died",
    "has_told",
    "is_asking",
    "is_feasible",
    "is_interrupted",
    "reported",
    "sign_of",
    "value_of",
]


def sign_of(direction: StudyDirection) -> float:
    """What values are multiplied with, as all here minimises."""
    return 1.0 if direction == StudyDirection.MINIMIZE else -1.0


def reported(trial: FrozenTrial, sign: float) -> list[tuple[float, float]]:
    """Step and value of what a trial has reported, by step; what is no number is no report."""
    reports = sorted(trial.intermediate_values.items())
    return [(float(step), _drawn_in(sign * v)) for step, v in reports if not math.isnan(v)]


def ended_with(trial: FrozenTrial, sign: float) -> float | None:
    """The value that a trial came to; None of one that runs, failed or was stopped."""
    if trial.state is not TrialState.COMPLETE or trial.value is None:
        return None
    return _drawn_in(sign * trial.value)


def _drawn_in(value: float) -> float:
    return min(max(value, -AS_GOOD_AS_INFINITE), AS_GOOD_AS_INFINITE)


def is_asking(trial: FrozenTrial) -> bool:
    """Whether a worker, if it lives, is choosing this trial's point now."""
    is_new = not is_of_partition(trial) and not trial.params
    return trial.state is TrialState.RUNNING and is_new


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial failed and nothing says that its point is bad."""
    return trial.state is TrialState.FAIL and not says_failed(trial)


def has_died(trial: FrozenTrial) -> bool:
    """Whether a trial's worker ended with it, and nobody says that it was told to."""
    return is_interrupted(trial) and not says_stopped(trial)


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial violates no constraint; one that has set none does not, as in Optuna."""
    return all(x <= 0 for x in trial.constraints.values())


def has_told(trial: FrozenTrial) -> bool:
    """Whether an ended trial says something of its parameters, if only that they fail."""
    return not is_interrupted(trial)


def value_of(trial: FrozenTrial) -> float | None:
    """The value a finished trial stands for; a pruned one's is the last it reported."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        last = trial.intermediate_values[max(trial.intermediate_values)]
        return None if math.isnan(last) else last
    return None
