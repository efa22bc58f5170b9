"""Whether memory ran out, and how much was taken; touches no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import resource
import sys

import torch


__all__ = ["DeviceFull", "is_out_of_memory", "peak_memory", "raising_device_full"]


class DeviceFull(Exception):
    """Memory ran out. As long as it is caught, the tensors of what did not fit are held."""


@contextmanager
def raising_device_full() -> Iterator[None]:
    """Makes one exception of all that say that memory ran out.

    Raises:
        DeviceFull: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceFull(str(error)) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: CUDA has an exception for it; CPU, Metal and cuBLAS a text."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED", "cublasCreate")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def peak_memory() -> int:
    """Bytes: most that tensors held on the GPU in this job; without one, most of this process."""
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
