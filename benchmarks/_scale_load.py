"""What scale.py's workers ask of a database, and what of its processor's time that takes."""

from __future__ import annotations

from dataclasses import dataclass
import time
from typing import Any

from optuna.storages import RDBStorage
import psutil
import sqlalchemy as sa
from sqlalchemy import event

from storage.backends.rows import RowStorage


STORAGES: dict[str, type[RDBStorage]] = {"ours": RowStorage, "optuna": RDBStorage}
"""`storage.open` gives the first; the second is what a URL gives in Optuna."""
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


def opened(name: str, url: str, **pool: int) -> RDBStorage:
    """A storage that differs from others in its way of reading only."""
    engine: dict[str, Any] = {} if url.startswith("sqlite") else {"pool_pre_ping": True, **pool}
    return STORAGES[name](url, engine_kwargs=engine, heartbeat_interval=30, grace_period=180)


class Load:
    """Counts what goes through an engine.

    Attributes:
        statements: How many there were.
        rows: How many were read; None of a database that does not say.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.statements, self._rows = 0, 0
        event.listen(engine, "after_cursor_execute", self._hear)

    def _hear(self, _: object, cursor: Any, *__: object) -> None:
        self.statements += 1
        if cursor.description is not None:
            self._rows += cursor.rowcount

    @property
    def rows(self) -> int | None:
        return self._rows if self._rows >= 0 else None


def backends(engine: sa.Engine) -> list[int]:
    """Processes of PostgreSQL on this machine that serve the database; none of other kinds.

    There is one for each connection, and the one that asks is among them.
    """
    if engine.name != "postgresql":
        return []
    with engine.connect() as connection:
        return list(connection.scalars(sa.text(_BACKENDS)))


def seconds_of(processes: list[int]) -> float | None:
    """Processor's time of a database's processes so far; None where they are not to be seen."""
    times = [psutil.Process(pid).cpu_times() for pid in processes if psutil.pid_exists(pid)]
    return float(sum(t.user + t.system for t in times)) if times else None


def own_seconds() -> float:
    """Processor's time of this process so far."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Spent:
    """Seconds.

    Args:
        clock: By the clock.
        own: Processor's time of this process.
        database: That of the database; None where it is not to be seen.
    """

    clock: float
    own: float
    database: float | None

    def over(self, n: int) -> Spent:
        """A share of it."""
        database = None if self.database is None else self.database / n
        return Spent(self.clock / n, self.own / n, database)


class Meter:
    """What is spent from now on; of the database what serves it at the end counts."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._its, self._own = seconds_of(backends(engine)), own_seconds()
        self._start = time.perf_counter()

    def spent(self) -> Spent:
        """So far."""
        clock, own = time.perf_counter() - self._start, own_seconds() - self._own
        its, before = seconds_of(backends(self._engine)), self._its
        return Spent(clock, own, None if its is None or before is None else its - before)
