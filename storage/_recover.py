"""Trials whose worker is gone: found by their process, without waiting for the heartbeat."""

from __future__ import annotations

import os
import socket

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState


__all__ = ["WORKER", "mark_worker", "recover"]

WORKER = "worker"
"""User attribute, "host:process:trial": a retry copies it, and the number tells it is old."""


def mark_worker(trial: optuna.Trial) -> None:
    """Writes down which process runs a trial."""
    trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}:{trial.number}")


def recover(study: optuna.Study) -> list[int]:
    """Fails the running trials whose process on this machine is gone, and has them tried again.

    The heartbeat does the same, for workers on any machine, after its grace period.

    Returns:
        Numbers of those trials.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial.number for trial in running if _is_gone(trial) and _fail(study, trial)]


def _is_gone(trial: optuna.trial.FrozenTrial) -> bool:
    host, _, rest = trial.user_attrs.get(WORKER, "::").partition(":")
    process, _, number = rest.partition(":")
    if host != socket.gethostname() or number != str(trial.number):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is someone else's
        return False
    return False


def _fail(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
    try:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:  # another worker was faster
        return False
    backend = getattr(study._storage, "_backend", study._storage)
    if isinstance(backend, RDBStorage) and backend.heartbeat_stale_trial_callback is not None:
        backend.heartbeat_stale_trial_callback(study, trial)
    return True
