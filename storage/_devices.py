"""This machine's processors and accelerators, shared out among workers; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import os
from pathlib import Path
import subprocess


__all__ = ["accelerators", "groups", "indices", "worker_environment"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"
DEVICES = Path("/dev")


def accelerators(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that a process would see, by the names that CUDA_VISIBLE_DEVICES takes."""
    if VISIBLE in environment:
        names = [name.strip() for name in environment[VISIBLE].split(",")]
        return [name for name in names if name not in ("", "-1", "NoDevFiles")]
    told = _told("index")
    # a container may have the driver without its tools
    return list(told) or [str(i) for i, _ in enumerate(DEVICES.glob("nvidia[0-9]*"))]


def indices(names: Sequence[str]) -> list[str]:
    """GPUs by number where they are named by UUID; what cannot be looked up stays as it is."""
    if all(name.isdecimal() for name in names):
        return list(names)
    numbers = {uuid: number for number, uuid in (line.split(", ") for line in _told("index,uuid"))}
    # CUDA takes the beginning of a UUID for the whole
    found = {name: [n for uuid, n in numbers.items() if uuid.startswith(name)] for name in names}
    return [found[name][0] if len(found[name]) == 1 else name for name in names]


def _told(query: str) -> list[str]:
    """What nvidia-smi says of each GPU, a line for each; nothing where it is not installed."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.splitlines()


def groups(devices: Sequence[str], count: int) -> list[list[str]]:
    """`count` near-equal groups of devices, neighbours together; too few devices are shared."""
    if len(devices) < count:
        return [[devices[k % len(devices)]] if devices else [] for k in range(count)]
    ends = [len(devices) * k // count for k in range(count + 1)]
    return [list(devices[i:j]) for i, j in zip(ends, ends[1:], strict=False)]


def worker_environment(count: int) -> list[dict[str, str]]:
    """What is set for each of `count` workers, beside this process's own environment.

    A worker alone has the whole machine. Threads that are set already stay as they are.
    """
    if count == 1:
        return [{}]
    share = max(1, _processors() // count)
    threads = {} if THREADS in os.environ else {THREADS: str(share)}
    return [
        {**threads, **({VISIBLE: ",".join(group)} if group else {})}
        for group in groups(accelerators(), count)
    ]


def _processors() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
