"""Journal files: opened, and written so that a worker may be killed at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import final

from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL

from storage._url import file
from storage._url import StorageError
from storage._url import told
from storage.backends.lock import held


__all__ = ["open_journal"]

_START = b'{"op_code":'
_LONGEST_FIRST_LINE = 1 << 20  # of what is no journal, and may have no lines


def open_journal(url: URL) -> JournalStorage:
    """A log that workers append to, under a lock that also holds on NFS."""
    if url.host:
        raise StorageError(
            f"`storage` = {told(url)}: a journal is a file and {url.host} would be a host; write "
            "three slashes for a path from the working directory, four for one from the root."
        )
    path = file(url)
    if path.exists() and not _begins_as_a_journal(path):
        raise StorageError(
            f"`storage` = {told(url)}: {path} is something else than a journal of Optuna; give "
            "another file, which is made when it is not there, or sqlite:/// for a database."
        )
    try:
        return JournalStorage(_Journal(path))
    except (OSError, StorageInternalError) as error:
        raise StorageError(f"`storage` = {told(url)}: cannot be opened ({error}).") from None


def _begins_as_a_journal(path: Path) -> bool:
    """Whether the first line is one; an empty file and half a line may become one."""
    with path.open("rb") as journal:
        line = journal.readline(_LONGEST_FIRST_LINE)
    if not line.endswith(b"\n"):
        return _START.startswith(line[: len(_START)])
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and "op_code" in first


@final
class _Journal(BaseJournalBackend):
    """Optuna's file of lines, in its format.

    Optuna's own backend does not outlive a worker that is killed while it appends. Half a line
    makes the file unreadable as soon as others follow, and the lock that is left stops everybody
    for 30 seconds, after which two may break it at once and so each other's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(f"{path.name}.lock")
        self._reader = JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        number = log_number_from
        with self._breaking_off():
            try:
                for log in self._reader.read_logs(number):
                    yield log
                    number += 1
            except ValueError:  # half a line, which another worker was removing
                yield from self._read_alone(number)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._breaking_off(), held(self._lock), _existing(self._path) as file:
            _remove_half_line(file)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def _read_alone(self, number: int) -> list[dict[str, Any]]:
        logs: list[dict[str, Any]] = []
        with held(self._lock):
            try:
                logs.extend(self._reader.read_logs(number))
            except ValueError:
                line = number + len(logs) + 1
                raise StorageInternalError(
                    f"line {line} of {self._path} is damaged and nobody has read it; remove it: "
                    f"sed -i {line}d {self._path}"
                ) from None
        return logs

    @contextmanager
    def _breaking_off(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageInternalError(f"{self._path}: {error.strerror}") from None


def _existing(path: Path) -> BinaryIO:
    """A file to read and to append to; it is not made, for a study would begin in its middle."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND), "ab+")


def _remove_half_line(file: BinaryIO) -> None:
    """What a killed worker or a full disk has left: nobody has read it as a line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
