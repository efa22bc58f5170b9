"""CPU time of scores one after the other beside together: `python benchmarks/pack_scoring.py`.

The stand-in with saved adapters of different rank on one of its tasks. Both ways load the adapters
from their folders and take turns; the largest difference of a score shows that they do the same
work. Process time, so that other load does not count; run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import gc
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

import torch

from objectives.job import Job
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack.score import PackScorer
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search_space import Hyperparameters
from objectives.training.runner import Runner


FILE = Path(__file__).parents[1] / "examples" / "standin.toml"
TASK = "standin_validation"
TRAINED = Training(validation_loss=1.0, tokens=1, seconds_setup=0.0, seconds_training=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 8, 16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = _experiment()
    bench = load_bench(experiment)
    gc.freeze()  # as a worker does
    with tempfile.TemporaryDirectory() as folder:
        jobs = [saved(bench, experiment, Path(folder), rank) for rank in arguments.ranks]
        print(_line(bench, experiment, jobs, arguments.repeats))


def _experiment() -> Experiment:
    experiment: Experiment = load_experiment(FILE)
    data = experiment.data.model_copy(update={"limit": 100})
    scoring = experiment.scoring.model_copy(update={"objective": TASK})
    return experiment.model_copy(update={"data": data, "scoring": scoring})


def saved(bench: Bench, experiment: Experiment, folder: Path, rank: int) -> Job:
    """An adapter that moves the scores: its B is random, too."""
    chosen = Hyperparameters(1e-3, 0.01, rank, 2 * rank, 0.1, 8)
    model = new_adapter(bench, experiment.training, chosen)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapter = folder / str(rank)
    save_adapter(model, adapter)
    release(bench, model)
    return Job(rank, chosen, str(adapter), 16, experiment.scoring.batch, trained=TRAINED)


def _line(bench: Bench, experiment: Experiment, jobs: Sequence[Job], repeats: int) -> str:
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, [TASK])
    run, pack = Runner(experiment, bench, scorer), PackScorer(experiment, bench, scorer)

    def alone() -> list[Any]:
        return [run(job, lambda _: False) for job in jobs]

    def together() -> list[Any]:
        return pack(jobs, [TRAINED] * len(jobs))

    pairs = zip(alone(), together(), strict=True)  # also what later scores find done
    difference = max(abs(a.value - b.value) for a, b in pairs)
    times = [(_seconds(alone), _seconds(together)) for _ in range(repeats)]
    a, b = (statistics.median(each) for each in zip(*times, strict=True))
    return (
        f"{len(jobs)} adapters: {a:.2f} s one after the other, {b:.2f} s together, ratio "
        f"{a / b:.2f}; largest difference of a score {difference:.1e}"
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
