"""Long studies and many workers on a database: `python benchmarks/scale.py join|crowd`.

`join` puts a study of n trials into the database and lets a new worker join it, in a process of
its own: Optuna's read of the study, the first ask, and later ones, with what they ask of the
database. `--in-flight 1000` has that many trials running, as a thousand workers would.

`crowd` lets many threads ask at once for some seconds, each with a sampler and a cache of its own.
The objective costs nothing, so that all of the time is the sampler's, Optuna's and the database's.

`ours` is what `storage.open` gives, `optuna` is Optuna's own storage. PostgreSQL is started in a
temporary folder, or OPTUNA_PARTITION_POSTGRES names one. The processor's time of the database is
that of its processes on this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
import itertools
import multiprocessing
from pathlib import Path
import statistics
import sys
import uuid
import warnings

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._scale_crowd import Crowd
from benchmarks._scale_crowd import Plan
from benchmarks._scale_crowd import run
from benchmarks._scale_fill import grown
from benchmarks._scale_fill import insert
from benchmarks._scale_join import Joined
from benchmarks._scale_join import joined
from benchmarks._scale_join import sampler_of
from benchmarks._scale_load import STORAGES
from benchmarks._stress_run import serving
import storage


JOIN = """\
| trials | in flight | sampler | storage | read, s | CPU, s | database, s | first trial, s \
| CPU, s | later ask, ms | CPU a trial, ms | database, ms | statements | rows | connections | MiB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
CROWD = """\
| workers | sampler | storage | trials | trials/s | ask p50, ms | p99, ms | CPU a trial, ms \
| database's, ms | statements a trial | rows a trial | connections | claims lost | duplicates |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
GROWN_BY = {"bamsoo": "soo"}  # its own first trials would take hours


def _row(*cells: object) -> str:
    return "| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |"


def _rounded(x: float | None, digits: int = 0) -> str | None:
    return None if x is None else f"{x:,.{digits}f}"


def _say(text: str) -> None:
    """Progress, where someone looks."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def _figures(found: Joined) -> tuple[object, ...]:
    read, first, later = found.read, found.first, found.later
    waits = (read.clock, read.own, read.database, first.clock, first.own)
    times = (found.ask, later.own, later.database)
    load = (_rounded(found.statements), _rounded(found.rows), found.connections)
    return (*_each(waits, 2), *_each(times, 0, 1e3), *load, _rounded(found.memory))


def _each(times: Iterable[float | None], digits: int, factor: float = 1.0) -> list[str | None]:
    return [None if x is None else _rounded(factor * x, digits) for x in times]


def _of_crowd(found: Crowd) -> tuple[object, ...]:
    n = max(1, found.trials)
    quantiles = statistics.quantiles(found.asks, n=100, method="inclusive")
    asks = [_rounded(1e3 * quantiles[p - 1]) for p in (50, 99)]
    cpu = (_rounded(1e3 * found.own / n, 1), _per_trial(found.database, n, 1e3, 1))
    load = (_rounded(found.statements / n), _per_trial(found.rows, n), found.connections)
    rate = _rounded(found.trials / found.seconds, 1)
    return (found.trials, rate, *asks, *cpu, *load, found.refused, found.duplicates)


def _per_trial(total: float | None, n: int, factor: float = 1.0, digits: int = 0) -> str | None:
    return None if total is None else _rounded(factor * total / n, digits)


def join(arguments: argparse.Namespace) -> None:
    """A table of workers that join."""
    print(JOIN, flush=True)
    growers = dict.fromkeys(GROWN_BY.get(sampler, sampler) for sampler in arguments.samplers)
    with serving(arguments.database) as server:
        for n, grower in itertools.product(arguments.trials, growers):
            trials = _grown(grower, n, max(arguments.in_flight))
            for flying in arguments.in_flight:
                name = _stored(server.url, trials[: n + flying])
                for cells in _joins(arguments, server.url, name, grower):
                    print(_row(n, flying, *cells), flush=True)


def _joins(
    arguments: argparse.Namespace, url: str, name: str, grower: str
) -> Iterator[tuple[object, ...]]:
    """Workers that join one study, one after the other."""
    for sampler, kind in itertools.product(arguments.samplers, arguments.storages):
        if GROWN_BY.get(sampler, sampler) == grower:
            _say(f"{name}: joined by {sampler} on {kind}")
            found = _apart(kind, url, name, sampler, arguments.asks)
            _say("")
            yield (sampler, kind, *_figures(found))


def _grown(grower: str, n: int, flying: int) -> list[FrozenTrial]:
    trials = grown(
        sampler_of(grower), n, flying, lambda done: _say(f"{grower}: {done} of {n} trials grown")
    )
    _say(f"{grower}: {n} trials go to the database")
    return trials


def _stored(url: str, trials: list[FrozenTrial]) -> str:
    """Makes a study; its name."""
    name = f"scale-{len(trials)}-{uuid.uuid4().hex[:8]}"
    backend = storage.open(url)
    assert isinstance(backend, RDBStorage)
    insert(backend, name, trials)
    backend.engine.dispose()
    return name


def _apart(kind: str, url: str, name: str, sampler: str, asks: int) -> Joined:
    """In a process of its own, which has nothing cached and whose memory is all the worker's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(joined, kind, url, name, sampler, asks).result()


def crowd(arguments: argparse.Namespace) -> None:
    """A table of crowds."""
    print(CROWD, flush=True)
    of = itertools.product(arguments.workers, arguments.samplers, arguments.storages)
    with serving(arguments.database) as server:
        for workers, sampler, kind in of:
            processes = min(workers, arguments.processes)
            connections, seconds = arguments.connections, arguments.seconds
            _say(f"{workers} workers, {sampler}, {kind}: {seconds:g} s and their last trials")
            plan = Plan(kind, sampler, workers, processes, connections, seconds)
            found = run(plan, server.url)
            _say("")
            print(_row(workers, sampler, kind, *_of_crowd(found)), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="long studies and many workers on a database")
    parts = parser.add_subparsers(required=True, metavar="join|crowd")
    long = parts.add_parser("join", help="a worker that joins a long study")
    long.set_defaults(part=join)
    long.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    long.add_argument("--in-flight", type=int, nargs="+", default=[0, 1000])
    long.add_argument("--asks", type=int, default=10, help="later asks of each worker")
    many = parts.add_parser("crowd", help="many workers at once")
    many.set_defaults(part=crowd)
    many.add_argument("--workers", type=int, nargs="+", default=[16, 64, 256])
    many.add_argument("--processes", type=int, default=4, help="that the workers are threads of")
    many.add_argument("--connections", type=int, default=64, help="that all workers share")
    many.add_argument("--seconds", type=float, default=30, help="in which trials begin")
    for part in (long, many):
        part.add_argument(
            "--database", choices=["postgres", "mysql", "sqlite"], default="postgres"
        )
        part.add_argument("--samplers", nargs="+", default=["soo", "random"])
        part.add_argument("--storages", nargs="+", choices=STORAGES, default=list(STORAGES))
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    arguments.part(arguments)


if __name__ == "__main__":
    main()
