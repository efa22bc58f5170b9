"""Part: a job in a gang of one, in a process of its own, beside the same job in this process."""

from __future__ import annotations

import time

from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import close
from benchmarks.gpu.work import standin
from objectives.gang.supervisor import Gang
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Run
from objectives.settings.config import Experiment
import storage


__all__ = ["in_gang", "run"]

CHOSEN = adapter(1, learning_rate=5e-3, dropout=0.1)


def run(stage: Stage) -> None:
    from objectives.training.runner import load_runner

    experiment = standin(128 if stage.on_gpu else 16)
    here = _values(stage, load_runner(experiment), "this process")
    there = in_gang(stage, experiment, 1)
    stage.write(largest_difference=close(there, here, 1e-2, "a gang of one and this process"))


def in_gang(stage: Stage, experiment: Experiment, ranks: int) -> list[float]:
    """Values of the same job twice, in a gang on the first GPUs."""
    start = time.perf_counter()
    with Gang(experiment, ranks=ranks, devices=storage.accelerators()[:ranks]) as gang:
        gang.start()
        stage.write(ranks=ranks, seconds_ready=time.perf_counter() - start)
        return _values(stage, gang, f"a gang of {ranks}")


def _values(stage: Stage, run: Run, who: str) -> list[float]:
    job = Job(0, CHOSEN, str(stage.folder / who), micro_batch=16, scoring_batch=16)
    outcomes = [run(job, lambda _: False) for _ in range(2)]
    done = [outcome for outcome in outcomes if isinstance(outcome, Finished)]
    if len(done) < len(outcomes):
        raise AssertionError(f"{who}: {outcomes}")
    stage.write(
        who=who,
        values=[outcome.value for outcome in done],
        seconds=[round(outcome.training.seconds_training, 2) for outcome in done],
        peak_memory_mib=round(done[-1].peak_memory / 2**20),
    )
    return [outcome.value for outcome in done]
