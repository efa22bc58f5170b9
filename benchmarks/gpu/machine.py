"""Part: what the run runs on, and what its memory and its products give at most."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distributions
import os
import platform
import subprocess
import sys
import time

import torch

from benchmarks._gpu_use import GIB
from benchmarks.gpu.stage import Stage


NAMED = {"accelerate", "bitsandbytes", "botorch", "datasets", "lm_eval", "numpy", "optuna"}
NAMED |= {"pandas", "peft", "pyarrow", "scipy", "torch", "transformers"}
REPEATS = 10


def run(stage: Stage) -> None:
    versions = {d.name: d.version for d in distributions() if d.name in NAMED}
    python, cores = platform.python_version(), os.cpu_count()
    stage.write(python=python, cores=cores, versions=dict(sorted(versions.items())))
    if not stage.on_gpu:
        stage.write(rehearsal="on a CPU: figures say nothing")
        return
    device = torch.cuda.get_device_properties(0)
    stage.write(
        gpus=torch.cuda.device_count(),
        gpu=device.name,
        memory_gib=device.total_memory / GIB,
        multiprocessors=device.multi_processor_count,
        cuda=torch.version.cuda,
    )
    stage.write(expandable_segments=_expandable())
    stage.write(copy_tb_per_second=_copy(), bf16_tflop_per_second=_product())


def _expandable() -> str:
    """Whether the driver has the memory that the command asks for, or what it says."""
    code = "import torch; torch.ones(1, device='cuda')"
    setting = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | setting, capture_output=True, text=True
    )
    return "yes" if done.returncode == 0 else done.stderr[-500:]


def _copy() -> float:
    """Read and written."""
    source = torch.randint(256, (4 * GIB,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / _seconds(lambda: target.copy_(source)) / 1e12


def _product() -> float:
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / _seconds(lambda: a @ b) / 1e12


def _seconds(work: Callable[[], object]) -> float:
    """Of one of several, after as many to warm up."""
    for _ in range(REPEATS):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(REPEATS):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / REPEATS
