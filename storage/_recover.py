"""Trials whose worker is gone: found by their process, before the heartbeat does; tried again."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from copy import deepcopy
from typing import TypeAlias
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._study.attributes import is_of_partition
from optuna_partition._study.attributes import KEY
from optuna_partition._study.attributes import STOPPED
from optuna_partition._study.fold.readings import has_died
from optuna_partition._study.optuna import is_enqueued
from storage._process import Process
from storage._worker import given
from storage._worker import process_of


__all__ = [
    "fail",
    "is_here",
    "is_marked",
    "mark_stopped",
    "put_back",
    "recover",
    "take_up",
    "try_again",
]

RETRIES = 2
HISTORY = "retry_history"
"""System attribute, Optuna's: the trials that this one is tried again for."""
STOPS = "retry_stops"
"""System attribute: those of them that somebody stopped, so that no worker died of them."""

Finished: TypeAlias = Callable[[optuna.Study], Sequence[FrozenTrial]]


def recover(study: optuna.Study) -> list[int]:
    """Fails the running trials whose process on this machine is gone, and has them tried again.

    The heartbeat does the same, for workers on any machine, after its grace period.

    Returns:
        Numbers of those trials.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial.number for trial in running if _is_gone(trial) and fail(study, trial)]


def is_marked(trial: FrozenTrial) -> bool:
    """Whether it is written down which process runs a trial."""
    return process_of(trial) is not None


def is_here(trial: FrozenTrial) -> bool:
    """Whether it is a process of this machine."""
    process = process_of(trial)
    return process is not None and process.is_here()


def fail(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Fails a running trial and has it tried again; false when another worker was faster."""
    try:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    backend = getattr(study._storage, "_backend", study._storage)
    again = (
        backend.heartbeat_stale_trial_callback if isinstance(backend, RDBStorage) else try_again
    )
    if again is not None:
        again(study, trial)
    return True


def mark_stopped(trial: optuna.Trial) -> None:
    """Writes down that a trial is ended by whoever ends its run, and not by its point.

    Samplers of this project do so where `study.optimize` is interrupted.
    """
    trial.storage.set_trial_system_attr(trial._trial_id, STOPPED, True)


def put_back(study: optuna.Study, finished: Finished) -> list[int]:
    """Has the trials tried again that this process ran when it was interrupted.

    As often as that happens: who interrupts does not say that the point kills workers.

    Args:
        study: With its trials, those failed that were interrupted.
        finished: The trials of a study that count as finished.

    Returns:
        Numbers of those trials.
    """
    return _put_back(study, finished, lambda process: process == Process.this())


def take_up(study: optuna.Study, finished: Finished) -> list[int]:
    """The same before a search: of this process's last one, and of processes that are gone.

    Whoever was to put them back, or to have them tried again, was ended before it did so.
    """
    return _put_back(study, finished, lambda p: p == Process.this() or p.is_gone())


def _put_back(
    study: optuna.Study, finished: Finished, ours: Callable[[Process], bool]
) -> list[int]:
    trials, done = study.get_trials(deepcopy=False), {t.number for t in finished(study)}
    done.update(number for trial in trials for number in trial.system_attrs.get(HISTORY, ()))
    failed = [t for t in trials if t.state is TrialState.FAIL and t.number not in done]
    found = [(t, process) for t in failed if (process := process_of(t)) and ours(process)]
    return [
        trial.number
        for trial, process in found
        if _enqueue(study, trial, died=process != Process.this() and has_died(trial))
    ]


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a trial whose worker died back in the queue, a few times."""
    _enqueue(study, trial, died=True)


def _enqueue(study: optuna.Study, trial: FrozenTrial, *, died: bool) -> bool:
    """Puts a failed trial back in the queue, unless its workers have died too often; whether so.

    Not one of a partition sampler: it asks for the point again by itself as soon as the trial has
    failed, and two ways to try again would be one too many. But a sampler asks for what somebody
    has enqueued in its own time only, so that is put back, without the sampler's claim.
    """
    if not is_enqueued(trial) and (not trial.params or is_of_partition(trial)):
        return False
    stops = [*trial.system_attrs.get(STOPS, ()), *([] if died else [trial.number])]
    if died and len(trial.system_attrs.get(HISTORY, ())) + 1 - len(stops) > RETRIES:
        return False
    trial = deepcopy(trial)  # Optuna appends to an attribute of it
    trial.user_attrs = given(trial)
    for key in (KEY, STOPPED):
        trial.system_attrs.pop(key, None)
    trial.system_attrs[STOPS] = stops
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback()(study, trial)
    return True


def _is_gone(trial: FrozenTrial) -> bool:
    process = process_of(trial)
    return process is not None and process.is_gone()
