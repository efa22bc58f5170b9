"""Writing below --output: what cannot be, as a message; a file all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import re
import tempfile

from objectives.errors import UserError


__all__ = ["LONGEST", "check_writable", "unwritable", "write_whole", "writing"]

LONGEST = 255  # bytes of a file's or folder's name, on all usual file systems

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
    while not os.path.lexists(place):
        if len(os.fsencode(place.name)) > LONGEST:
            raise unwritable(place, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        place = place.parent
    if not place.is_dir():
        raise unwritable(place, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    try:
        os.rmdir(tempfile.mkdtemp(dir=place))  # permissions alone do not tell, as of /proc
    except OSError as error:
        raise unwritable(place, error) from None


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


def write_whole(file: Path, *parts: bytes | memoryview) -> None:
    """All at once, and on the disk first: another process finds the whole file, or what was there.

    Args:
        file: In a folder that is made if needed.
        parts: Its content.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
        try:
            unfinished.writelines(parts)
            unfinished.flush()
            os.fsync(unfinished.fileno())
            os.replace(unfinished.name, file)
        except BaseException:
            os.unlink(unfinished.name)
            raise


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
            f"--output: {place} cannot be written ({why}): the disk at {disk} is full; make room "
            "there, and the same command continues the study"
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
