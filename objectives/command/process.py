"""A trainer's process with all that it starts: begun, and ended whatever happens here."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import subprocess
import sys

from objectives.errors import UserError
from objectives.settings.own.words import placeholders


__all__ = ["check_program", "running"]

GUARD = Path(__file__).with_name("guard.py")
PATIENCE_SECONDS = 10.0  # between SIGTERM and SIGKILL


def check_program(words: Sequence[str], home: Path) -> None:
    """Refuses a command whose program is not there.

    Args:
        words: Of the command, its placeholders not yet filled.
        home: Where it is to run.
    """
    program = words[0]
    found = shutil.which(home / program if "/" in program else program)
    if found is None and not placeholders([program]):
        where = home if "/" in program else "PATH"
        raise UserError(
            f"`[command] run`: there is no program {program} in {where}; correct it, or activate "
            "the environment that it is installed in"
        )


@contextmanager
def running(words: Sequence[str], *, home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs; afterwards none of its processes does.

    It is started by a guard that ends it when this process is gone. Its exit status is the
    guard's, 128 and more where a signal has ended it.

    Args:
        words: Of the command.
        home: Where it runs.
        log: What it prints goes there.
    """
    theirs, ours = os.pipe()
    guard = [sys.executable, "-I", "-S", str(GUARD), str(theirs), str(PATIENCE_SECONDS)]
    environment = {"PYTHONUNBUFFERED": "1", **os.environ}  # what is printed is read at once
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*guard, *words],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,  # Ctrl-C in a terminal is for the worker alone
            )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        yield process
    finally:
        os.close(ours)
        process.wait()
