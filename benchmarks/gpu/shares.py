"""Part: a gang of two on a base in shares, beside a gang of two on whole bases; needs two GPUs."""

from __future__ import annotations

from benchmarks.gpu.gang import in_gang
from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import close
from benchmarks.gpu.work import standin
import storage


RANKS = 2
ROWS = 128


def run(stage: Stage) -> None:
    found = storage.accelerators()
    if stage.on_gpu and len(found) < RANKS:
        raise Skipped(f"a base in shares needs {RANKS} GPUs, and there is {len(found)}")
    experiment = standin(ROWS if stage.on_gpu else 16, "float32")
    sharded = experiment.model.model_copy(update={"sharded": True})
    whole = in_gang(stage, experiment, RANKS)
    shares = in_gang(stage, experiment.model_copy(update={"model": sharded}), RANKS)
    stage.write(largest_difference=close(shares, whole, 1e-3, "shares and whole bases"))
