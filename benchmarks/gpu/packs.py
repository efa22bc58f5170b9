"""Part: tokens a second of one adapter alone and of packs, on 1 B with small micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
import time

import torch

from benchmarks._gpu_use import GIB
from benchmarks._gpu_use import watched
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import random_bench
from benchmarks.gpu.work import random_experiment
from benchmarks.gpu.work import random_samples
from benchmarks.gpu.work import with_rows
from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.pack.packed import train_pack
from objectives.pack.packed import Trained
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings
from objectives.training import lora


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
        trained = lora.train(bench, settings, adapter(0), report=lambda *_: None)
        release(bench, trained.model)
        return trained.tokens, trained.seconds
    results = train_pack(bench, settings, _pack(size), report=lambda *_: False)
    done = [result for result in results if isinstance(result, Trained)]
    if len(done) < size:
        raise AssertionError(f"a pack of {size}: {results[0]}")
    return sum(result.tokens for result in done), sum(result.seconds for result in done)


def _pack(size: int) -> Sequence[Hyperparameters]:
    return [adapter(number) for number in range(size)]
