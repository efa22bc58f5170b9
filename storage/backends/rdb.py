"""SQLite, PostgreSQL, MySQL: opened with heartbeat, whoever comes first; touches no study."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import IntegrityError

from storage._away import full_disk
from storage._process import worker_name
from storage._recover import try_again
from storage._url import StorageError
from storage._url import told
from storage.backends.rows import RowStorage
from storage.backends.sqlite import BUSY_SECONDS
from storage.backends.sqlite import check_file
from storage.backends.sqlite import tune


__all__ = ["open_rdb"]

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
    if _is_sqlite(url):
        check_file(url)
    for attempt in itertools.count(1):
        try:
            return _opened(url, heartbeat, grace)
        except (DatabaseError, StorageInternalError) as error:
            wrapped = isinstance(error, StorageInternalError)
            cause = (error.__cause__ or error) if wrapped else error
            if attempt >= _attempts(cause):
                raise _refused(url, cause) from None
        except (ArgumentError, ImportError, RuntimeError) as error:
            raise _refused(url, error) from None
        time.sleep(random.uniform(0, min(_PAUSE_SECONDS, 0.1 * attempt)))
    raise AssertionError("the last attempt returns or raises")


def _opened(url: URL, heartbeat: int, grace: int) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is, since 2021
        storage = RowStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=_engine(url),
            heartbeat_interval=heartbeat,
            grace_period=grace,
            heartbeat_stale_trial_callback=try_again,
        )
    if _is_sqlite(url):
        tune(storage)
    else:
        _wait_for_restarts(storage)
    return storage


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: URL) -> dict[str, Any]:
    if _is_sqlite(url):
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True, "pool_recycle": 1800}


def _attempts(error: BaseException) -> int:
    """How often it is worth trying in all."""
    text = str(error).lower()
    if "the database system is" in text:  # PostgreSQL: starting up, shutting down, in recovery
        return _RESTART_ATTEMPTS
    away = ("connection refused", "can't connect", "closed the connection", "connection reset")
    if worker_name() and any(words in text for words in away):
        return _RESTART_ATTEMPTS  # it was there when somebody began the search
    lost = ("already exists", "does not exist", "locked", "deadlock", "duplicate")
    if isinstance(error, IntegrityError) or any(words in text for words in lost):
        return _START_ATTEMPTS  # another worker was making the tables: all but one fail then
    return 1


def _wait_for_restarts(storage: RDBStorage) -> None:
    """Whoever needs a connection while the server is away gets it as soon as it is back."""

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


def _refused(url: URL, error: BaseException) -> StorageError:
    shown = told(url)
    if isinstance(error, ArgumentError):  # NoSuchModuleError is one
        return StorageError(
            f"`storage` = {shown}: there is no such kind of storage ({error}); take sqlite, "
            "postgresql+psycopg, mysql+pymysql, journal or grpc."
        )
    if isinstance(error, ImportError):
        install = _INSTALL.get(url.get_backend_name(), "install its driver")
        driver = url.get_dialect().driver
        return StorageError(f"`storage` = {shown}: the driver {driver} is missing; {install}.")
    if isinstance(error, RuntimeError):  # Optuna's, of tables of another version; with a command
        return StorageError(f"`storage` = {shown}: {error}".replace("$STORAGE_URL", shown))
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    full = full_disk(url, reason)
    if full is not None:
        return StorageError(f"`storage` = {shown}: {full}.")
    way_out = (
        "give a database, or the name of a file that is to be made"
        if _is_sqlite(url)
        else "check the server, the name and the password"
    )
    return StorageError(f"`storage` = {shown}: cannot be opened ({reason}); {way_out}.")
