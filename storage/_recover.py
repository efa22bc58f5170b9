"""Trials whose worker is gone: found by their process, before the heartbeat does; tried again."""

from __future__ import annotations

import os
from pathlib import Path
import socket
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


__all__ = ["WORKER", "fail", "is_here", "is_marked", "mark_worker", "recover", "try_again"]

WORKER = "worker"
"""User attribute, "machine:process:trial:start": a retry copies it, and the trial tells it is old.

The start is the process's: after a reboot its number may be another's.
"""

RETRIES = 2
_PARTITION = "partition"  # the attribute that a partition sampler's trials carry
_PROCESSES = Path("/proc/self/ns/pid")


def mark_worker(trial: optuna.Trial) -> None:
    """Writes down which process runs a trial."""
    process = os.getpid()
    mark = f"{_machine()}:{process}:{trial.number}:{_start(process)}"
    trial.set_user_attr(WORKER, mark)


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
    return _mark(trial) is not None


def is_here(trial: FrozenTrial) -> bool:
    """Whether it is a process of this machine."""
    mark = _mark(trial)
    return mark is not None and mark[0] == _machine()


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
    if trial.params and _PARTITION not in trial.system_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def _machine() -> str:
    """Host and process namespace: containers may share the host's name and not its processes."""
    namespace = _PROCESSES.stat().st_ino if _PROCESSES.exists() else 0
    return f"{socket.gethostname()}/{namespace}"


def _start(process: int) -> str:
    """When a process started, in ticks since the machine did; "" if it is not there or unknown."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # field 22; the second, in brackets, may hold any


def _mark(trial: FrozenTrial) -> tuple[str, int, str] | None:
    """Machine, process and its start; not those that a retry copied from the trial before."""
    machine, process, number, start = trial.user_attrs.get(WORKER, ":::").split(":")
    return (machine, int(process), start) if number == str(trial.number) else None


def _is_gone(trial: FrozenTrial) -> bool:
    mark = _mark(trial)
    if mark is None or mark[0] != _machine():
        return False
    _, process, start = mark
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # someone has the number
        pass
    return start != _start(process)
