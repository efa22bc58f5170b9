"""Which worker runs a trial and when it was last heard of, as the study has it; ends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import sqlalchemy as sa

from storage._process import Process
from storage._process import worker_name


__all__ = ["WORKER", "Worker", "given", "heard", "mark_worker", "process_of", "worker_of"]

WORKER = "worker"
"""User attribute, "machine:process:trial:start": a retry copies it, and by the trial it is old."""
ALLOCATION = "worker_allocation"
"""User attribute: the worker's name, its devices, and the names of the user attributes that the
trial had before; it is the trial's if WORKER is."""


@dataclass(frozen=True)
class Worker:
    """A process that runs trials.

    Attributes:
        process: Which one.
        name: Among those of whoever started it, by which its log is found; "" has none.
        devices: Names of the GPUs that it trains on; none for a CPU.
    """

    process: Process
    name: str = ""
    devices: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The machine's name, of which a container has its own."""
        return self.process.machine.rpartition("/")[0]


def mark_worker(trial: optuna.Trial, devices: Sequence[str] = ()) -> None:
    """Writes down which process runs a trial.

    Args:
        trial: It runs here.
        devices: Names of the GPUs that it has.
    """
    process, before = Process.this(), sorted({*trial.user_attrs} - {WORKER, ALLOCATION})
    allocation = {"name": worker_name(), "devices": list(devices), "given": before}
    trial.set_user_attr(ALLOCATION, allocation)
    mark = f"{process.machine}:{process.number}:{trial.number}:{process.start}"
    trial.set_user_attr(WORKER, mark)


def process_of(trial: FrozenTrial) -> Process | None:
    """The process that runs a trial; not the one that a retry copied from the trial before.

    Users may have an attribute of that name, with whatever in it.
    """
    machine, process, number, start = _parts(trial.user_attrs.get(WORKER))
    mine = number == str(trial.number) and process.isdecimal()
    return Process(machine, int(process), start) if mine else None


def _parts(mark: object) -> list[str]:
    parts = mark.split(":") if isinstance(mark, str) else []
    return parts if len(parts) == 4 else [""] * 4


def worker_of(trial: FrozenTrial) -> Worker | None:
    """Who runs a trial or has run it; None where that is not written down."""
    process = process_of(trial)
    if process is None:
        return None
    known = trial.user_attrs.get(ALLOCATION, {})
    return Worker(process, known.get("name", ""), tuple(known.get("devices", ())))


def given(trial: FrozenTrial) -> dict[str, Any]:
    """The user attributes that a trial had before its worker began; all where nobody knows."""
    known = trial.user_attrs.get(ALLOCATION, {}) if process_of(trial) else {}
    return {name: trial.user_attrs[name] for name in known.get("given", trial.user_attrs)}


def heard(study: optuna.Study) -> dict[int, float]:
    """Seconds since the last sign of life of running trials, by number, as far as that is known.

    A database has heartbeats. Without them, a process of this machine that is there gives a sign
    now, and of others nothing is known.
    """
    backend = getattr(study._storage, "_backend", study._storage)
    if isinstance(backend, RDBStorage):
        return _heartbeats(backend, study._study_id)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    processes = {trial.number: process_of(trial) for trial in running}
    return {n: 0.0 for n, p in processes.items() if p and p.is_here() and not p.is_gone()}


def _heartbeats(backend: RDBStorage, study: int) -> dict[int, float]:
    """By the clock of the database, which has written them."""
    trials, beats = models.TrialModel, models.TrialHeartbeatModel
    query = (
        sa.select(trials.number, beats.heartbeat, sa.func.now())
        .join(beats, beats.trial_id == trials.trial_id)
        .where(trials.study_id == study, trials.state == TrialState.RUNNING)
    )
    with _create_scoped_session(backend.scoped_session, True) as session:  # errors are Optuna's
        found = session.execute(query).all()
    return {n: (now.replace(tzinfo=None) - beat).total_seconds() for n, beat, now in found}
