"""SQLite, PostgreSQL, MySQL: opened with heartbeat, whoever comes first; touches no study."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import ProgrammingError

from storage._network import network_file_system
from storage._recover import try_again
from storage._url import file
from storage._url import in_memory
from storage._url import StorageError


__all__ = ["open_rdb"]

BUSY_SECONDS = 60  # how long SQLite waits for another writer
AWAY_SECONDS = 60  # how long a server may be gone that has answered before
_START_ATTEMPTS = 8  # when several workers make the tables of an empty database
_RESTART_ATTEMPTS = 120  # about a minute, for a server that comes up again
_PAUSE_SECONDS = 1.0  # the longest between two attempts

_INSTALL = {
    "postgresql": 'pip install "optuna-partition[postgres]" and write postgresql+psycopg://',
    "mysql": 'pip install "optuna-partition[mysql]" and write mysql+pymysql://',
}


def open_rdb(url: URL, *, heartbeat: int, grace: int) -> RDBStorage:
    """A database with its tables.

    Several workers may make the tables of an empty database at once. All but one fail at that, and
    look again. A server that says it is on its way is waited for.
    """
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite:
        _check_local(url)
    for attempt in itertools.count(1):
        try:
            storage = _storage(url, heartbeat, grace)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if attempt >= _attempts(error):
                raise _refused(url, error) from None
            time.sleep(random.uniform(0, min(_PAUSE_SECONDS, 0.1 * attempt)))
        except (ArgumentError, ImportError) as error:
            raise _refused(url, error) from None
        else:
            break
    if sqlite:
        _tune_sqlite(storage)
    else:
        _wait_for_restarts(storage)
    return storage


def _check_local(url: URL) -> None:
    if in_memory(url):
        raise StorageError(
            f"`storage` = {url}: a database in memory is one connection's alone, so there would "
            "be no heartbeat; take sqlite:///study.db, or create the study without a storage."
        )
    kind = network_file_system(file(url))
    if kind is not None:
        raise StorageError(
            f"`storage` = {url}: this folder is on a network file system ({kind}), where SQLite "
            "loses writes; take a local folder, journal:///study.log, or PostgreSQL."
        )


def _storage(url: URL, heartbeat: int, grace: int) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is, since 2021
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=_engine(url),
            heartbeat_interval=heartbeat,
            grace_period=grace,
            heartbeat_stale_trial_callback=try_again,
        )


def _engine(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True, "pool_recycle": 1800}


def _attempts(error: Exception) -> int:
    """How often it is worth trying in all."""
    text = str(error).lower()
    if "the database system is" in text:  # PostgreSQL: starting up, shutting down, in recovery
        return _RESTART_ATTEMPTS
    lost = ("already exists", "does not exist", "locked", "deadlock", "duplicate")
    if isinstance(error, IntegrityError) or any(words in text for words in lost):
        return _START_ATTEMPTS  # another worker was making the tables: all but one fail then
    return 1


def _wait_for_restarts(storage: RDBStorage) -> None:
    """Whoever needs a connection while the server is away gets it as soon as it is back.

    Also the thread that keeps a trial's heartbeat, which the first error would end.
    """

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, _: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0, _PAUSE_SECONDS))


def _tune_sqlite(storage: RDBStorage) -> None:
    """A write-ahead log lets readers go on while one writes, and saves most of the flushing."""

    @event.listens_for(storage.engine, "connect")
    def per_connection(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # so that open connections get it as well
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _refused(url: URL, error: Exception) -> StorageError:
    shown = url.render_as_string(hide_password=True)
    if isinstance(error, ArgumentError):  # NoSuchModuleError is one
        return StorageError(
            f"`storage` = {shown}: there is no such kind of storage ({error}); take sqlite, "
            "postgresql+psycopg, mysql+pymysql, journal or grpc."
        )
    if isinstance(error, ImportError):
        install = _INSTALL.get(url.get_backend_name(), "install its driver")
        driver = url.get_dialect().driver
        return StorageError(f"`storage` = {shown}: the driver {driver} is missing; {install}.")
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return StorageError(
        f"`storage` = {shown}: cannot be opened ({reason}); "
        "check the folder or the server, the name and the password."
    )
