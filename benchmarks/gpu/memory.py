"""Part: memory that runs out costs no trial and no pack, and all of it comes back.

On a GPU by a micro-batch of 131,072 tokens on 1 B, which would take about 300 GB. A CPU's memory
is not to be filled up: there, and the lines say so, the model refuses batches of many rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import time
from typing import Any

import torch

from benchmarks._gpu_use import GIB
from benchmarks._trainings import together
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import close
from benchmarks.gpu.work import LONGEST
from benchmarks.gpu.work import random_bench
from benchmarks.gpu.work import random_experiment
from benchmarks.gpu.work import random_samples
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import until_it_fits
from objectives.model.bench import Bench
from objectives.training.runner import Runner


ROWS = 256
SMALL = 8  # a micro-batch that fits everywhere
MOST_ON_CPU = 70  # rows


def run(stage: Stage) -> None:
    tokens = LONGEST if stage.on_gpu else 16
    bench = random_bench(
        random_samples(ROWS, on_gpu=stage.on_gpu, tokens=tokens), on_gpu=stage.on_gpu
    )
    if not stage.on_gpu:
        bench.base.get_decoder().register_forward_pre_hook(_refuse, with_kwargs=True)
        stage.write(simulated=f"batches of more than {MOST_ON_CPU} rows are refused")
    large, loss = _halved(bench, stage, ROWS)
    if large == ROWS:
        raise AssertionError(f"{ROWS} rows of {tokens} tokens fitted: nothing ran out")
    _, expected = _halved(bench, stage, SMALL)
    largest = close([loss], [expected], 0.02, f"loss by micro-batches of {large} and {SMALL}")
    stage.write(largest_difference=largest)
    _pack(bench, stage)


def _halved(bench: Bench, stage: Stage, micro_batch: int) -> tuple[int, float]:
    """The micro-batch that fitted, and the loss."""
    attempts: list[tuple[int, str, float]] = []
    experiment = random_experiment(micro_batch=micro_batch)
    runner = Runner(experiment, bench, None)
    chosen = adapter(0, effective_batch=ROWS)

    def attempt(job: Job) -> Outcome:
        start = time.perf_counter()
        outcome = runner(job, lambda _: False)
        seconds = round(time.perf_counter() - start, 2)
        attempts.append((job.micro_batch, type(outcome).__name__, seconds))
        return outcome

    job = Job(0, chosen, str(stage.folder / "adapter"), micro_batch, scoring_batch=1)
    with _all_comes_back():
        job, outcome = until_it_fits("trial 0", job, attempt)
    if not isinstance(outcome, Finished):
        raise AssertionError(f"micro-batch {job.micro_batch}: {outcome}")
    peak = outcome.peak_memory / GIB
    stage.write(begun_with=micro_batch, fitted=job.micro_batch, attempts=attempts, peak_gib=peak)
    return job.micro_batch, outcome.value


def _pack(bench: Bench, stage: Stage) -> None:
    settings = random_experiment(micro_batch=ROWS).training
    pack = [adapter(number, effective_batch=ROWS) for number in range(2)]
    with _all_comes_back():
        outcomes = [learner.ended for learner in together(bench, settings, pack)]
    if not all(isinstance(outcome, OutOfMemory) for outcome in outcomes):
        raise AssertionError(f"a pack of {len(pack)} with micro-batch {ROWS}: {outcomes}")
    stage.write(pack=len(pack), micro_batch=ROWS, outcome="out of memory, all of it back")


@contextmanager
def _all_comes_back() -> Iterator[None]:
    """Raises AssertionError where tensors are left on the GPU."""
    before = torch.cuda.memory_allocated()
    yield
    left = torch.cuda.memory_allocated() - before
    if left > 2**28:  # cuBLAS keeps its workspaces
        raise AssertionError(f"{left / GIB:.2f} GiB were not given back")


def _refuse(_: Any, __: Any, given: dict[str, Any]) -> None:
    if len(given["input_ids"]) > MOST_ON_CPU:
        raise torch.OutOfMemoryError("out of memory, as it were")
