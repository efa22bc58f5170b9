"""One rank's process as its gang sees it: its environment, its pipe, its end; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import Pipe
import os
from pathlib import Path
import signal
import socket
import subprocess
from typing import Any


__all__ = ["Rank", "environment", "kill_group", "rank_environments"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"
_CHECKOUT = Path(__file__).parents[2]
_DEATH_SECONDS = 5.0  # between the end of a pipe and that of its process


@dataclass(frozen=True)
class Rank:
    """A running rank.

    Attributes:
        number: Its place in the gang, from 0.
        process: Its own; or, if it was launched, the launcher's.
        pipe: What it says, and where it listens.
        machine: Where it was launched; None for a process of the gang's own.
    """

    number: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    machine: str | None = None

    @classmethod
    def spawn(cls, number: int, command: Sequence[str], environment: dict[str, str]) -> Rank:
        """Starts it with one end of a pipe, which no other process has."""
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C in a terminal is for the gang alone
            )
        return cls(number, process, ours)

    def send(self, message: object) -> None:
        """To a rank that is gone as well: its end is read from the pipe."""
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def receive(self) -> Any:
        """What it says; None when it has ended."""
        try:
            return self.pipe.recv()
        except (OSError, EOFError):
            return None

    def was_killed(self) -> bool:
        """Whether it is known that a signal has ended it."""
        status = self.process.poll()
        return self.machine is None and status is not None and status < 0

    def how_it_ended(self) -> str:
        """For a rank that has closed its pipe."""
        if self.machine is not None:
            return f"rank {self.number} on {self.machine} is gone"
        try:
            status = self.process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            return f"rank {self.number} closed its pipe"
        if status < 0:
            return f"rank {self.number} was killed by {_signal_name(-status)}"
        return f"rank {self.number} exited with status {status}"

    def hang_up(self) -> None:
        """Has a rank that was launched end by itself; all of them, before one is waited for."""
        if self.machine is not None:
            self.send(None)
            self.pipe.close()

    def end(self) -> None:
        """Kills it with the processes it has started; what launched it has time to end first."""
        if self.machine is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_DEATH_SECONDS)
        kill_group(self.process)
        self.pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads a session, and all others in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """What every rank needs beside this process's own environment."""
    path = [str(_CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


def rank_environments(count: int, devices: Sequence[str]) -> list[dict[str, str]]:
    """What is set for each rank of a new gang, beside this process's own environment.

    A rank alone is no different from this process, so that its values are not. Several find each
    other by a port that is free now, and share the threads this process may use.
    """
    common = environment()
    if devices:
        common[VISIBLE] = ",".join(devices[:count])
    if count == 1:
        return [common]
    threads = int(os.environ.get(THREADS, "").partition(",")[0] or _processors())
    common |= {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        THREADS: str(max(1, threads // count)),
        **({} if devices else {"ACCELERATE_USE_CPU": "true"}),
    }
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _signal_name(number: int) -> str:
    """Real-time signals have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _processors() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
