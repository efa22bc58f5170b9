"""URL -> Optuna storage, ready for many workers; creates the tables, touches no study."""

from __future__ import annotations

from pathlib import Path
import random
import time
from typing import Any
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import ProgrammingError


__all__ = ["StorageError", "exists", "open"]

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 180  # well above any pause of a worker that lives, a long GP fit for example
RETRIES = 2  # of a trial whose worker died
BUSY_SECONDS = 60  # how long SQLite waits for another writer
_START_ATTEMPTS = 8
_PARTITION = "partition"  # the attribute that a partition sampler's trials carry

_INSTALL = {
    "postgresql": 'pip install "optuna-partition[postgres]"',
    "mysql": 'pip install "optuna-partition[mysql]"',
}


class StorageError(ValueError):
    """A database that cannot be opened; the message names the URL, the reason and the way out."""


def open(url: str) -> BaseStorage:
    """Opens a database for Optuna, with its tables.

    A trial's worker keeps a heartbeat; a trial whose heartbeat stops is failed by the others and
    tried again. SQLite gets a write-ahead log and patience with other writers.

    Args:
        url: ``sqlite:///file.db``, ``postgresql+psycopg://user:password@host/name``,
            ``mysql+pymysql://user:password@host/name``.

    Raises:
        StorageError: The URL cannot be read, the driver is missing, or nothing answers there.
    """
    parsed = _parse(url)
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            storage = _rdb(parsed)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if not _lost_the_start(error) or attempt == _START_ATTEMPTS:
                raise _refused(parsed, error) from None
            time.sleep(random.uniform(0, 0.1 * attempt))
        except ImportError as error:
            raise _refused(parsed, error) from None
        else:
            break
    if parsed.get_backend_name() == "sqlite":
        _tune_sqlite(storage)
    return storage


def exists(url: str) -> bool:
    """Whether there may be a study at the URL: false only for an SQLite file that is not there.

    Raises:
        StorageError: The URL cannot be read, or the file's folder is not there.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        return True
    file = Path(parsed.database or "")
    if not file.parent.is_dir():
        raise StorageError(
            f"`storage` = {url}: there is no folder {file.parent}; make it, or check the path: "
            "three slashes start at the working directory, four at the root."
        )
    return file.exists()


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise StorageError(
            f"`storage` must be a database URL, but got ({url!r}); "
            "for example sqlite:///study.db or postgresql+psycopg://user:password@host/name."
        ) from None


def _engine(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"pool_pre_ping": True, "pool_recycle": 1800}


def _lost_the_start(error: Exception) -> bool:
    """Whether another worker was making the tables at the same time: all but one fail then."""
    words = ("already exists", "does not exist", "locked", "deadlock", "duplicate")
    return isinstance(error, IntegrityError) or any(w in str(error).lower() for w in words)


def _rdb(url: URL) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is, since 2021
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=_engine(url),
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=try_again,
        )


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a trial whose worker died back in the queue.

    Not one of a partition sampler: it asks for the point again by itself as soon as the trial has
    failed, and two ways to try again would be one too many.
    """
    if trial.params and _PARTITION not in trial.system_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


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
    if isinstance(error, ImportError):
        install = _INSTALL.get(url.get_backend_name(), "install its driver")
        return StorageError(f"`storage` = {shown}: the driver is missing ({error}); {install}.")
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return StorageError(
        f"`storage` = {shown}: cannot be opened ({reason}); "
        "check the folder or the server, the name and the password."
    )
