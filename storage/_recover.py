"""Trials whose worker is gone: found by their process, before the heartbeat does; tried again."""

from __future__ import annotations

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._study.attributes import is_of_partition
from storage._worker import process_of


__all__ = ["fail", "is_here", "is_marked", "recover", "try_again"]

RETRIES = 2


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


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a trial whose worker died back in the queue.

    Not one of a partition sampler: it asks for the point again by itself as soon as the trial has
    failed, and two ways to try again would be one too many.
    """
    if trial.params and not is_of_partition(trial):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def _is_gone(trial: FrozenTrial) -> bool:
    process = process_of(trial)
    return process is not None and process.is_gone()
