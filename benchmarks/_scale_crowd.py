"""Workers of scale.py that ask at the same time: threads, each with a cache of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
import copy
from dataclasses import dataclass
import logging
import multiprocessing as mp
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
import time
from typing import Any
import uuid
import warnings

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from benchmarks._scale_join import asked
from benchmarks._scale_join import sampler_of
from benchmarks._scale_load import backends
from benchmarks._scale_load import Load
from benchmarks._scale_load import Meter
from benchmarks._scale_load import opened
from benchmarks._scale_load import own_seconds
from benchmarks._stress_worker import REFUSALS
import storage


WAIT_SECONDS = 600  # for a connection, and for workers that end their last trial


@dataclass(frozen=True)
class Plan:
    """A crowd.

    Args:
        storage: A name in `STORAGES`.
        sampler: The name of a sampler.
        workers: Threads that ask.
        processes: What they are shared out to.
        connections: What they share, all together.
        seconds: How long they begin new trials.
    """

    storage: str
    sampler: str
    workers: int
    processes: int
    connections: int
    seconds: float


@dataclass(frozen=True)
class Crowd:
    """What a crowd did.

    Args:
        trials: That ended.
        seconds: Until the last one ended.
        asks: Seconds of each ask.
        own: Processor's time of the workers.
        database: That of the database; None where it is not to be seen.
        statements: That the database got.
        rows: That were read; None of a database that does not say.
        connections: At the end; None where they are not to be seen.
        refused: Claims on points that another worker had.
        duplicates: Evaluations of points that were evaluated before.
    """

    trials: int
    seconds: float
    asks: tuple[float, ...]
    own: float
    database: float | None
    statements: int
    rows: int | None
    connections: int | None
    refused: int
    duplicates: int


@dataclass(frozen=True)
class _Report:
    """Of one process."""

    asks: list[float]
    own: float
    statements: int
    rows: int | None
    refused: int


class _Refusals(logging.Filter):
    """Counts, and prints nothing."""

    n = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.n += 1
        return False


def _work(
    plan: Plan, url: str, name: str, workers: int, reports: Queue[Any], go: Event, leave: Event
) -> None:
    """A process: says that it is ready, works, reports, and keeps its connections until told."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    refusals, log = _Refusals(), logging.getLogger(REFUSALS)
    log.setLevel(logging.DEBUG)
    log.addFilter(refusals)
    pool = max(1, plan.connections // plan.processes)
    shared = opened(plan.storage, url, pool_size=pool, max_overflow=0, pool_timeout=WAIT_SECONDS)
    studies = [
        optuna.load_study(
            study_name=name, storage=_alike(shared), sampler=sampler_of(plan.sampler)
        )
        for _ in range(workers)
    ]
    reports.put(None)
    go.wait()
    load, own = Load(shared.engine), own_seconds()
    deadline = time.monotonic() + plan.seconds
    with ThreadPoolExecutor(workers) as threads:
        done = threads.map(lambda one: asked(one, lambda _: time.monotonic() > deadline), studies)
        asks = [seconds for of_one in done for seconds in of_one]
    reports.put(_Report(asks, own_seconds() - own, load.statements, load.rows, refusals.n))
    leave.wait()


def _alike(shared: RDBStorage) -> RDBStorage:
    """Another worker's storage on the same connections; Optuna gives it a cache of its own."""
    one = object.__new__(type(shared))
    one.__dict__.update(copy.copy(shared.__dict__))
    return one


def run(plan: Plan, url: str) -> Crowd:
    """A new study, on which a crowd works for some seconds."""
    backend = storage.open(url)
    assert isinstance(backend, RDBStorage)
    study = optuna.create_study(storage=backend, study_name=f"crowd-{uuid.uuid4().hex[:8]}")
    context = mp.get_context("spawn")
    reports, go, leave = context.Queue(), context.Event(), context.Event()
    shares = [len(range(i, plan.workers, plan.processes)) for i in range(plan.processes)]
    processes = [
        context.Process(
            target=_work, args=(plan, url, study.study_name, n, reports, go, leave), daemon=True
        )
        for n in shares
    ]
    for process in processes:
        process.start()
    for _ in processes:
        reports.get(timeout=WAIT_SECONDS)
    meter = Meter(backend.engine)
    go.set()
    heard: list[_Report] = [reports.get(timeout=plan.seconds + WAIT_SECONDS) for _ in processes]
    spent, pids = meter.spent(), backends(backend.engine)
    leave.set()
    for process in processes:
        process.join()
    trials, duplicates = _evaluated(study)
    backend.engine.dispose()
    return Crowd(
        trials=trials,
        seconds=spent.clock,
        asks=tuple(s for report in heard for s in report.asks),
        own=sum(report.own for report in heard),
        database=spent.database,
        statements=sum(report.statements for report in heard),
        rows=_sum(report.rows for report in heard),
        connections=len(pids) or None,
        refused=sum(report.refused for report in heard),
        duplicates=duplicates,
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [n for n in counts if n is not None]
    return sum(known) if known else None


def _evaluated(study: optuna.Study) -> tuple[int, int]:
    """How many trials are complete, and how many of them are of a point that another has."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    points = Counter(tuple(sorted(trial.params.items())) for trial in complete)
    return len(complete), len(complete) - len(points)
