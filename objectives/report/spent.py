"""What the trials of a study took, and what stopping them early saved; draws nothing.

A training may be done in several trials: one that was cut off goes on in the next trial with its
hyperparameters, and so does a pruned one whose checkpoint is kept. Its steps count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.report.history import duration
from objectives.report.history import PARTS


__all__ = ["Spent", "shares", "spent"]


@dataclass(frozen=True)
class Spent:
    """Of a study.

    Attributes:
        steps: Optimizer steps that were taken, but for those of trials that were interrupted.
        steps_in_all: Those that the same trials would have taken without a pruner.
        seconds: Times devices, of all trials.
        saved: Times devices, what pruned trials would still have taken at their own speed.
    """

    steps: int
    steps_in_all: int
    seconds: float
    saved: float


def spent(trials: Sequence[FrozenTrial]) -> Spent:
    """What all trials of a study took together."""
    went_on = _went_on(trials)
    steps = steps_in_all = 0
    seconds = saved = 0.0
    for trial in trials:
        seconds += _seconds(trial) * _devices(trial)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            own = _steps(trial) - _before(trial, went_on)
            left = 0 if _key(trial, _steps(trial)) in went_on else _left(trial)
            steps, steps_in_all = steps + own, steps_in_all + own + left
            saved += _pace(trial) * left * _devices(trial)
    return Spent(steps, steps_in_all, seconds, saved)


def shares(trials: Sequence[FrozenTrial]) -> list[float]:
    """How much of a whole training each took; one of which that is not known, or that failed, 1.

    Args:
        trials: All of a study that have ended.
    """
    went_on = _went_on(trials)
    return [_share(trial, went_on) for trial in trials]


def _share(trial: FrozenTrial, went_on: set[Any]) -> float:
    in_all = _number(trial, "steps_in_all")
    if trial.state is TrialState.FAIL or not in_all:
        return 1.0
    return (_steps(trial) - _before(trial, went_on)) / in_all


def _went_on(trials: Sequence[FrozenTrial]) -> set[Any]:
    """Pruned trials, and where they were, that a later one went on from."""
    stopped = {_key(t, _steps(t)) for t in trials if t.state is TrialState.PRUNED}
    resumed = {_key(t, _start(t)) for t in trials if _start(t)}
    return stopped & resumed


def _key(trial: FrozenTrial, step: int) -> tuple[Any, int]:
    return tuple(sorted(trial.params.items())), step


def _before(trial: FrozenTrial, went_on: set[Any]) -> int:
    """Steps of a trial that an earlier, pruned one has taken."""
    start = _start(trial)
    return start if _key(trial, start) in went_on else 0


def _start(trial: FrozenTrial) -> int:
    return int(_number(trial, "resumed_at"))


def _steps(trial: FrozenTrial) -> int:
    return int(_number(trial, "steps"))


def _left(trial: FrozenTrial) -> int:
    return max(0, int(_number(trial, "steps_in_all")) - _steps(trial))


def _pace(trial: FrozenTrial) -> float:
    """Seconds of a step, validations included."""
    here = _steps(trial) - _start(trial)
    return _number(trial, "seconds_training") / here if here > 0 else 0.0


def _devices(trial: FrozenTrial) -> float:
    return _number(trial, "devices") or 1


def _seconds(trial: FrozenTrial) -> float:
    """A trial of a pack has its share of the device, and not all of it from begin to end.

    One that has failed has not kept its share: it is taken for an equal one.
    """
    pack = _number(trial, "pack")
    if not pack:
        return duration(trial)
    return math.fsum(_number(trial, part) for part in PARTS) or duration(trial) / pack


def _number(trial: FrozenTrial, name: str) -> float:
    """0 where a study of somebody else's has something else under that name."""
    found = trial.user_attrs.get(name)
    if not isinstance(found, int | float) or not math.isfinite(found):
        return 0.0
    return float(found)
