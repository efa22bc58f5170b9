"""What is seen of the first GPU while something runs: memory, and how busy it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
import threading
from typing import Any


__all__ = ["GIB", "Looks", "watched"]

BETWEEN_LOOKS = 0.2  # seconds: NVML's own figure is a mean over about as long
GIB = 2**30


@dataclass
class Looks:
    """What was seen of the GPU, by whatever process."""

    used: list[int] = field(default_factory=list)  # bytes
    percent: list[int] = field(default_factory=list)

    def memory(self) -> float | None:
        """GiB in use at most; None without NVML."""
        return max(self.used) / GIB if self.used else None

    def busy(self) -> float | None:
        """Mean share of the time in which a kernel ran; None without NVML."""
        return sum(self.percent) / len(self.percent) / 100 if self.percent else None


@contextmanager
def watched() -> Iterator[Looks]:
    """Looks at the GPU from a thread; sees nothing where there is none."""
    looks, done = Looks(), threading.Event()
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
