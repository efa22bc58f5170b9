"""Runs a command to its end and says what it took: wall, CPU, memory, use of the first GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import subprocess
import time

from benchmarks._gpu_use import GIB
from benchmarks._gpu_use import watched


__all__ = ["Cost", "run"]


@dataclass(frozen=True)
class Cost:
    """Of a process and all that it has started.

    Attributes:
        wall: Seconds.
        cpu: Seconds of all cores, user and system.
        memory: GiB of the largest of the processes.
        gpu_memory: GiB in use on the GPU at most, other processes included; None without NVML.
        gpu_busy: Mean share of the time in which a kernel ran; None without NVML.
    """

    wall: float
    cpu: float
    memory: float
    gpu_memory: float | None = None
    gpu_busy: float | None = None


def run(command: Sequence[str], log: Path, environment: dict[str, str]) -> Cost:
    """Runs it with its output in a file.

    Raises:
        SystemExit: It failed; with the end of its output.
    """
    start = time.perf_counter()
    with log.open("w") as output, watched() as gpu:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: failed\n{log.read_text()[-3000:]}")
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss * 1024 / GIB, gpu.memory(), gpu.busy())
