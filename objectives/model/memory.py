"""Whether memory ran out, and how much was taken; touches no model."""

from __future__ import annotations

import resource
import sys

import torch


__all__ = ["is_out_of_memory", "peak_memory"]


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
