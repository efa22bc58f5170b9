"""What is SQLite's own: where its file may be, whose it is, its write-ahead log; no study."""

from __future__ import annotations

from contextlib import closing
import os
from pathlib import Path
import re
import sqlite3
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL

from storage._url import file
from storage._url import in_memory
from storage._url import StorageError
from storage._url import told


__all__ = ["BUSY_SECONDS", "check_file", "network_file_system", "tune"]

BUSY_SECONDS = 60  # how long SQLite waits for another writer
_MADE_FIRST = "studies"  # of Optuna's tables
MOUNTS = Path("/proc/mounts")  # Linux; elsewhere it cannot be told
NETWORK = frozenset(  # not 9p: as often a container's own root, on one machine
    "afs beegfs beegfs_nodev ceph cifs fuse.ceph fuse.gcsfuse fuse.glusterfs fuse.juicefs "
    "fuse.rclone fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 smb3 "
    "smbfs wekafs".split()
)


def check_file(url: URL) -> None:
    """Refuses what workers cannot share, and what is not a study's; touches nothing.

    Raises:
        StorageError: The database is in memory, on a network file system, or something else's.
    """
    if in_memory(url):
        raise StorageError(
            f"`storage` = {told(url)}: a database in memory is one connection's alone, so there "
            "would be no heartbeat; take sqlite:///study.db, or create the study without a "
            "storage."
        )
    path = file(url)
    kind = network_file_system(path)
    if kind is not None:
        raise StorageError(
            f"`storage` = {told(url)}: this folder is on a network file system ({kind}), where "
            "SQLite loses writes; take a local folder, journal:///study.log, or PostgreSQL."
        )
    foreign = _foreign_tables(path) if path.exists() else []
    if foreign:
        raise StorageError(
            f"`storage` = {told(url)}: is a database of something else, with tables such as "
            f"{', '.join(foreign[:3])} and none of Optuna's; give the study a file of its own."
        )


def _foreign_tables(path: Path) -> list[str]:
    """The tables of a database in which Optuna has none; none when they cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    except sqlite3.DatabaseError:  # opening it will say why
        return []
    return [] if _MADE_FIRST in tables else sorted(tables)


def tune(storage: RDBStorage) -> None:
    """A write-ahead log lets readers go on while one writes, and saves most of the flushing."""

    @event.listens_for(storage.engine, "connect")
    def per_connection(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # so that open connections get it as well
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def network_file_system(file: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system a file is on; None where it is on none, or unknown.

    Args:
        file: It need not be there.
        mounts: The table in the form of /proc/mounts, by default this machine's.
    """
    if mounts is None:
        there = MOUNTS.exists()
        mounts = MOUNTS.read_text(errors="surrogateescape") if there else ""  # as paths have it
    path, deepest, kind = Path(os.path.realpath(file)), -1, None
    for line in mounts.splitlines():
        _, folder, found, *_ = line.split()
        folder = _unescaped(folder)
        depth = len(Path(folder).parts)
        if path.is_relative_to(folder) and depth >= deepest:  # of two on one folder the later
            deepest, kind = depth, found
    return kind if kind in NETWORK else None


def _unescaped(folder: str) -> str:
    r"""A space in a path stands as \040 in the table."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), folder)
