"""Is the stand-in a test bed? `python benchmarks/standin.py [--configurations 24]`.

Trains random configurations of the example's search space and scores each on validation loss and
on both tasks, beside the untuned base and the PEFT defaults. Printed: the spread, the rank
correlations, and how far the best lies above the base. One JSON line per model goes to `--output`.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
import json
import math
from pathlib import Path
import time
from typing import Any

import optuna
from scipy.stats import spearmanr
import torch

from objectives.job import Failed
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.scoring.criterion import measure
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import PEFT_DEFAULTS
from objectives.training.learner import Learner
from objectives.training.loop import train


EXAMPLE = Path(__file__).parents[1] / "examples" / "standin.toml"
TASKS = ("standin_validation", "standin_test")
Row = dict[str, Any]


def configurations(experiment: Experiment, n: int, seed: int) -> Iterator[Hyperparameters]:
    """`n` random points of the search space."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(n):
        yield experiment.hyperparameters(study.ask(experiment.search_space()).params)


def scored(scorer: Scorer, model: torch.nn.Module) -> Row:
    """Accuracy on each task, its standard error, and the CPU seconds both took."""
    start = time.process_time()
    scores = {task: scorer.score(model, task, "acc") for task in TASKS}
    row: Row = {task: score.value for task, score in scores.items()}
    row |= {f"{task}_stderr": score.stderr for task, score in scores.items()}
    return row | {"seconds_scoring": time.process_time() - start}


def untuned(bench: Bench, scorer: Scorer, experiment: Experiment) -> Row:
    """The base without an adapter."""
    loss = measure(
        bench.base,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=experiment.training.micro_batch,
        accelerator=bench.accelerator,
    ).loss
    return {"which": "base", "loss": loss, **scored(scorer, bench.base)}


def tuned(
    which: str, bench: Bench, scorer: Scorer, experiment: Experiment, chosen: Hyperparameters
) -> Row:
    """One configuration; a diverged one has the loss nan and no scores."""
    row: Row = {"which": which, **asdict(chosen)}
    start = time.process_time()
    learner = Learner(bench, experiment.training, chosen)
    deque(train(learner), maxlen=0)
    if isinstance(learner.ended, Training):
        loss = learner.ended.validation_loss
        row |= {"loss": loss, "seconds_training": time.process_time() - start}
        row |= scored(scorer, bench.base)
    elif isinstance(learner.ended, Failed):
        row |= {"loss": math.nan}
    else:
        raise RuntimeError(learner.ended)
    release(bench, bench.base)
    return row


def column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key] for row in rows]


def summary(rows: Sequence[Row]) -> str:
    """Spread, rank correlations, and the best against the base."""
    base = rows[0]
    random = [row for row in rows if row["which"] == "random" and math.isfinite(row["loss"])]
    text = [f"base: {told(base)}", f"PEFT defaults: {told(rows[1])}"]
    for key in ("loss", *TASKS):
        values = sorted(column(random, key))
        middle = values[len(values) // 2]
        text.append(f"{key}: {values[0]:.3f} .. {middle:.3f} .. {values[-1]:.3f}")
    for one, other in (("loss", TASKS[0]), ("loss", TASKS[1]), TASKS):
        rho, p = spearmanr(column(random, one), column(random, other))
        text.append(f"Spearman {one}, {other}: {rho:+.2f} (p = {p:.1e}, n = {len(random)})")
    best = min(random, key=lambda row: row["loss"])
    test = TASKS[1]
    error = math.hypot(best[f"{test}_stderr"], base[f"{test}_stderr"])
    errors = (best[test] - base[test]) / error
    text.append(f"lowest loss: {told(best)}, {errors:.1f} standard errors above the base")
    seconds = [row["seconds_training"] for row in random]
    text.append(f"CPU seconds of a training: {min(seconds):.1f} .. {max(seconds):.1f}")
    return "\n".join(text)


def told(row: Row) -> str:
    test = TASKS[1]
    return f"loss {row['loss']:.3f}, {test} {row[test]:.3f} +- {row[f'{test}_stderr']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="spread and correlations on the stand-in")
    parser.add_argument("--experiment", type=Path, default=EXAMPLE)
    parser.add_argument("--configurations", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("standin_benchmark.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(arguments.experiment)
    bench = load_bench(experiment)
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, TASKS)
    rows = [untuned(bench, scorer, experiment)]
    rows.append(tuned("PEFT defaults", bench, scorer, experiment, PEFT_DEFAULTS))
    for chosen in configurations(experiment, arguments.configurations, arguments.seed):
        rows.append(tuned("random", bench, scorer, experiment, chosen))
        print(told(rows[-1]) if math.isfinite(rows[-1]["loss"]) else "diverged", flush=True)
    arguments.output.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
