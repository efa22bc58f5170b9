"""A worker of scale.py that joins a long study: what it waits for, reads and holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import resource
import statistics
import time
import warnings

import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from sqlalchemy.pool import QueuePool

from benchmarks._asks import SPACE
from benchmarks._asks import value
from benchmarks._scale_load import Load
from benchmarks._scale_load import Meter
from benchmarks._scale_load import opened
from benchmarks._scale_load import Spent
from benchmarks.ask import SAMPLERS
from optuna_partition import BaMSOOSampler


@dataclass(frozen=True)
class Joined:
    """What a worker saw.

    Args:
        read: What reading the study took.
        first: The first trial after it.
        later: A later trial, the mean.
        ask: Seconds of a later ask, the median.
        statements: Of a later trial.
        rows: Read by a later trial; None of a database that does not say.
        connections: Held at the end.
        memory: The most that the worker ever had, in MiB.
    """

    read: Spent
    first: Spent
    later: Spent
    ask: float
    statements: float
    rows: float | None
    connections: int
    memory: float


def sampler_of(name: str) -> BaseSampler:
    """A new sampler of the space that all share; of several, each draws other points."""
    if name == "bamsoo":
        return BaMSOOSampler(search_space=SPACE)
    return RandomSampler() if name == "random" else SAMPLERS[name](SPACE)


def asked(study: optuna.Study, stop: Callable[[int], bool]) -> list[float]:
    """Seconds of asks, all that lies between the end of a trial and the next one's parameters.

    Args:
        study: It goes on.
        stop: Whether so many asks are enough.
    """
    times: list[float] = []
    began = time.perf_counter()

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial._suggest(name, axis) for name, axis in SPACE.items()}
        times.append(time.perf_counter() - began)
        return value(params)

    def ended(study: optuna.Study, _: object) -> None:
        nonlocal began
        began = time.perf_counter()
        if stop(len(times)):
            study.stop()

    study.optimize(objective, callbacks=[ended])
    return times


def joined(storage: str, url: str, name: str, sampler: str, n_later: int) -> Joined:
    """Joins a study and takes some trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    backend = opened(storage, url)
    study = optuna.load_study(study_name=name, storage=backend, sampler=sampler_of(sampler))
    meter = Meter(backend.engine)
    study._storage.get_all_trials(study._study_id, deepcopy=False)
    read, meter = meter.spent(), Meter(backend.engine)
    asked(study, lambda n: True)
    first, meter, load = meter.spent(), Meter(backend.engine), Load(backend.engine)
    asks = asked(study, lambda n: n >= n_later)
    later, rows = meter.spent(), load.rows
    return Joined(
        read,
        first,
        later.over(n_later),
        statistics.median(asks),
        load.statements / n_later,
        None if rows is None else rows / n_later,
        _held(backend),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    )


def _held(backend: RDBStorage) -> int:
    """Connections that a storage keeps, none of which is in use now."""
    pool = backend.engine.pool
    return pool.checkedin() if isinstance(pool, QueuePool) else 0
