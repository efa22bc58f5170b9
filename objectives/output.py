"""What cannot be written below --output, as a message; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import re

from objectives.errors import UserError


__all__ = ["check_writable", "unwritable", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_THE_WAY = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written, before anything is loaded.

    Raises:
        UserError: Names the place that is in the way.
    """
    place = folder.absolute()
    while not os.path.exists(place):
        place = place.parent
    if not place.is_dir():
        raise unwritable(place, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(place, os.W_OK | os.X_OK):
        raise unwritable(place, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Work in which a file or folder below a folder is written.

    Raises:
        UserError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        if _number(error) not in _FULL + _IN_THE_WAY:  # of the network, for one
            raise
        raise unwritable(Path(error.filename or folder), error) from None


def unwritable(place: Path, error: Exception) -> UserError:
    """The message for a file or folder that cannot be written.

    Args:
        place: The file or folder.
        error: Why; the system's, or a library's that quotes it.
    """
    number = _number(error)
    why = str(error) if number is None else os.strerror(number)
    if number in _FULL:
        path = place.absolute()
        disk = next(folder for folder in (path, *path.parents) if os.path.ismount(folder))
        return UserError(
            f"{place} cannot be written ({why}): the disk at {disk} is full; make room there, "
            "and the same command continues the study"
        )
    return UserError(
        f"--output: {place} cannot be written ({why}); change that, or give another --output"
    )


def _number(error: Exception) -> int | None:
    """The system's number of an error: safetensors and shutil hand it on as text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    quoted = re.search(r"(?:Errno|os error) (\d+)", str(error))
    return int(quoted[1]) if quoted else None
