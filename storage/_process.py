"""Which process: so that another one can tell that it is gone; reads /proc, touches no study."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re
import socket


__all__ = ["NAME", "Process", "worker_name"]

NAME = "STORAGE_WORKER"
"""Environment variable of a worker: its name among those of whoever started it, as its log has."""
_NAMESPACE = Path("/proc/self/ns/pid")
_ID = Path("/etc/machine-id")


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        machine: Host, process namespace and machine id: containers may share the host's name and
            not its processes, and two hosts may have one name. "host/namespace-id", or without
            the id where there is none.
        number: Its process id.
        start: In ticks since the machine's own, for after a reboot the number may be another's;
            "" where that cannot be told.
    """

    machine: str
    number: int
    start: str

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        number = os.getpid()
        return cls(_machine(), number, _start(number) or "")

    def is_here(self) -> bool:
        """Whether it is or was a process of this machine.

        By host and namespace alone where it could not read the id, or is of a former version.
        """
        return self.machine in (_machine(), _place())

    def is_gone(self) -> bool:
        """Whether it is known to have ended: of another machine's processes that is not known."""
        if not self.is_here():
            return False
        try:
            os.kill(self.number, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # someone has the number
            pass
        start = _start(self.number)
        return start is not None and start != self.start


def worker_name() -> str:
    """Of this process, among those of whoever started it; "" where nobody has."""
    return os.environ.get(NAME, "")


def _machine() -> str:
    return "-".join(filter(None, (_place(), _id())))


def _id() -> str:
    """The machine's, hashed as systemd wants it; "" where it has none, as many containers."""
    try:
        found = _ID.read_bytes().strip()
    except OSError:
        return ""
    whole = re.fullmatch(rb"[0-9a-f]{32}", found)  # another word stands for: not yet
    return hashlib.sha256(found).hexdigest()[:8] if whole else ""


def _place() -> str:
    namespace = _NAMESPACE.stat().st_ino if _NAMESPACE.exists() else 0
    return f"{socket.gethostname()}/{namespace}"


def _start(number: int) -> str | None:
    """When a process started; "" if it has ended, and None where that cannot be told."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(errors="replace")
    except OSError:  # of another user's process, where /proc is mounted with hidepid
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name, in brackets, may hold any
    return "" if state in "ZX" else fields[18]  # killed, and its parent has not looked yet
