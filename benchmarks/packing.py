"""CPU time of trials one after the other beside a pack of them: `python benchmarks/packing.py`.

The stand-in, four trials of different rank, alpha, dropout, learning rate and effective batch; the
same work both ways, which the largest difference between their losses shows. Process time, so that
other load does not count; run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import gc
from pathlib import Path
import time

from benchmarks._trainings import alone
from benchmarks._trainings import together
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.learner import Learner


FILE = Path(__file__).parents[1] / "examples" / "standin.toml"
Losses = list[list[float]]


@dataclass(frozen=True)
class Setting:
    """What a line is about."""

    micro_batch: int
    batches: tuple[int, ...]  # effective, of each trial

    def pack(self) -> list[Hyperparameters]:
        each = zip((2, 8, 16, 32), self.batches, strict=True)
        return [Hyperparameters(1e-3, 0.01, rank, 2 * rank, 0.1, size) for rank, size in each]


SETTINGS = (
    Setting(1, (8, 8, 8, 8)),
    Setting(1, (4, 8, 12, 16)),
    Setting(4, (8, 8, 8, 8)),
    Setting(4, (4, 8, 12, 16)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--rows", type=int, default=96, help="training rows of a trial")
    bench, settings = _load(parser.parse_args().rows)
    print("micro-batch  effective batches  sequential s  packed s  ratio  max |delta loss|")
    for setting in SETTINGS:
        print(_line(bench, settings, setting), flush=True)


def _load(rows: int) -> tuple[Bench, TrainingSettings]:
    experiment: Experiment = load_experiment(FILE)
    data = experiment.data.model_copy(update={"limit": rows, "validation_limit": 32})
    training = experiment.training.model_copy(update={"validations": 1})
    bench = load_bench(experiment.model_copy(update={"data": data}))
    gc.freeze()  # as the command does: every trial ends with a collection
    return bench, training


def _line(bench: Bench, settings: TrainingSettings, setting: Setting) -> str:
    settings = settings.model_copy(update={"micro_batch": setting.micro_batch})
    pack = setting.pack()
    apart, one_by_one = _timed(lambda: [alone(bench, settings, chosen) for chosen in pack])
    at_once, packed = _timed(lambda: together(bench, settings, pack))
    differences = [
        abs(a - b) for x, y in zip(apart, at_once, strict=True) for a, b in zip(x, y, strict=True)
    ]
    batches = " ".join(map(str, setting.batches))
    return (
        f"{setting.micro_batch:>11}  {batches:>17}  {one_by_one:>12.1f}  {packed:>8.1f}  "
        f"{one_by_one / packed:>5.2f}  {max(differences):.1e}"
    )


def _timed(work: Callable[[], list[Learner]]) -> tuple[Losses, float]:
    start = time.process_time()
    learners = work()
    return [learner.losses for learner in learners], time.process_time() - start


if __name__ == "__main__":
    main()
