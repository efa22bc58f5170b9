"""Part: tokens a second of one adapter alone and of packs, on 1 B with small micro-batches."""

from __future__ import annotations

import time

import torch

from benchmarks._gpu_use import GIB
from benchmarks._gpu_use import watched
from benchmarks._trainings import alone
from benchmarks._trainings import together
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import random_bench
from benchmarks.gpu.work import random_experiment
from benchmarks.gpu.work import random_samples
from benchmarks.gpu.work import with_rows
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.settings.sections.training import TrainingSettings


SIZES = (1, 4, 8)
MICRO_BATCHES = (1, 4)
ROWS = 24  # of the training that shows how many rows the time is enough for


def run(stage: Stage) -> None:
    bench = random_bench(random_samples(4096, on_gpu=stage.on_gpu), on_gpu=stage.on_gpu)
    for micro_batch in MICRO_BATCHES:
        settings = random_experiment(micro_batch=micro_batch).training
        for size in SIZES if stage.on_gpu else (1, 2):
            found = _measured(bench, settings, size, stage)
            stage.write(pack=size, micro_batch=micro_batch, **found)


def _measured(
    bench: Bench, settings: TrainingSettings, size: int, stage: Stage
) -> dict[str, float | None]:
    """After a first step, in which kernels are loaded, and a short training."""
    _train(with_rows(bench, 8), settings, size)
    _, short = _train(with_rows(bench, ROWS), settings, size)
    rows = max(ROWS, min(4096, int(ROWS * stage.seconds / short) // 8 * 8))
    if stage.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    with watched() as gpu:
        tokens, seconds = _train(with_rows(bench, rows), settings, size)
    return {
        "tokens_per_second": tokens / seconds,
        "rows_per_second": size * rows / seconds,
        "seconds": seconds,
        "seconds_setup": time.perf_counter() - start - seconds,
        "gpu_busy": gpu.busy(),
        "peak_memory_gib": torch.cuda.max_memory_allocated() / GIB if stage.on_gpu else None,
    }


def _train(bench: Bench, settings: TrainingSettings, size: int) -> tuple[int, float]:
    """Tokens, and seconds of the steps and the validation at the end, which waits for the GPU."""
    if size == 1:
        done = [alone(bench, settings, adapter(0))]
    else:
        done = together(bench, settings, [adapter(number) for number in range(size)])
    for learner in done:
        if not isinstance(learner.ended, Training):
            raise AssertionError(f"a pack of {size}: {learner.ended}")
    return sum(learner.tokens for learner in done), sum(learner.seconds for learner in done)
