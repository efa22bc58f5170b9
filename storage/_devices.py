"""This machine's processors and accelerators, shared out among workers; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import os
import subprocess


__all__ = ["accelerators", "groups", "worker_environment"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


def accelerators(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that a process would see, by the names that CUDA_VISIBLE_DEVICES takes."""
    if VISIBLE in environment:
        names = [name.strip() for name in environment[VISIBLE].split(",")]
        return [name for name in names if name not in ("", "-1", "NoDevFiles")]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):  # no driver, so no GPU
        return []
    return answer.stdout.split()


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
