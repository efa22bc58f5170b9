"""URL -> Optuna storage, ready for many workers; creates the tables, touches no study."""

from __future__ import annotations

from optuna.storages import BaseStorage

from storage._url import file
from storage._url import FILES
from storage._url import in_memory
from storage._url import parse
from storage.backends.grpc import open_grpc
from storage.backends.journal import open_journal
from storage.backends.rdb import open_rdb


__all__ = ["GRACE_SECONDS", "HEARTBEAT_SECONDS", "exists", "open"]

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 180  # well above any pause of a worker that lives, a long GP fit for example


def open(
    url: str, *, heartbeat: int = HEARTBEAT_SECONDS, grace: int = GRACE_SECONDS
) -> BaseStorage:
    """Opens a storage for Optuna; a database gets its tables.

    In a database a trial's worker keeps a heartbeat. A trial whose heartbeat stops is failed by
    the other workers and tried again. SQLite gets a write-ahead log and patience with other
    writers; on a network file system it is refused, because it loses writes there.

    A journal and a gRPC proxy have no heartbeat, also when there is a database behind the proxy: a
    trial whose worker died stays running until `storage.recover` meets it on the machine it ran
    on. Until then its point is lost, which no other worker evaluates. The search goes on around it
    once twenty times as many trials as are in flight have come and gone.

    Args:
        url: ``sqlite:///file.db``, ``postgresql+psycopg://user:password@host/name``,
            ``mysql+pymysql://user:password@host/name``, ``journal:///file.log``,
            ``grpc://host:port``. A file's path is relative after three slashes and absolute after
            four.
        heartbeat: Seconds between two signs of life of a trial.
        grace: Seconds without a sign after which a trial counts as dead.

    Raises:
        StorageError: The URL cannot be read, the driver is missing, nothing answers there, or the
            database is in memory or its file where it cannot be shared.
        ValueError: `grace` is not longer than `heartbeat`.
    """
    if grace <= heartbeat:
        raise ValueError(
            f"`grace > heartbeat` must hold, but got ({heartbeat=}, {grace=}): a trial would "
            "count as dead between two signs of life; six times the heartbeat is usual."
        )
    parsed = parse(url)
    if parsed.get_backend_name() == "journal":
        return open_journal(parsed)
    if parsed.get_backend_name() == "grpc":
        return open_grpc(parsed)
    return open_rdb(parsed, heartbeat=heartbeat, grace=grace)


def exists(url: str) -> bool:
    """Whether there may be a study at the URL: false only for a file that is not there.

    Raises:
        StorageError: The URL cannot be read, or no file can be where it says.
    """
    parsed = parse(url)
    is_file = parsed.get_backend_name() in FILES and not in_memory(parsed)
    return not is_file or file(parsed).exists()
