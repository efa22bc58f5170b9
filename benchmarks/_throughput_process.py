"""Runs a command to its end and says what it took: wall, CPU, memory, use of the first GPU."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import subprocess
import threading
import time
from typing import Any


__all__ = ["Cost", "run"]

BETWEEN_LOOKS = 0.2  # seconds: NVML's own figure is a mean over about as long
GIB = 2**30


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
    with log.open("w") as output, _watched() as gpu:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: failed\n{log.read_text()[-3000:]}")
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss * 1024 / GIB, gpu.memory(), gpu.busy())


@dataclass
class _Looks:
    """What was seen of the GPU."""

    used: list[int] = field(default_factory=list)  # bytes
    percent: list[int] = field(default_factory=list)

    def memory(self) -> float | None:
        return max(self.used) / GIB if self.used else None

    def busy(self) -> float | None:
        return sum(self.percent) / len(self.percent) / 100 if self.percent else None


@contextmanager
def _watched() -> Iterator[_Looks]:
    """Looks at the GPU from a thread; sees nothing where there is none."""
    looks, done = _Looks(), threading.Event()
    nvml, device = _first_gpu()
    if nvml is None:
        yield looks
        return

    def look() -> None:
        while not done.wait(BETWEEN_LOOKS):
            looks.used.append(nvml.nvmlDeviceGetMemoryInfo(device).used)
            looks.percent.append(nvml.nvmlDeviceGetUtilizationRates(device).gpu)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        done.set()
        thread.join()


def _first_gpu() -> tuple[Any, Any]:
    """NVML, which needs no CUDA context of this process, and its handle; None without."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # no package, no driver, no GPU: each raises its own
        return None, None
