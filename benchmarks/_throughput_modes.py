"""The modes of throughput.py: the same trials by a plain script, and by our command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import sys

import optuna
from optuna.trial import FrozenTrial

from benchmarks._throughput_process import Cost
from benchmarks._throughput_process import run
from benchmarks._throughput_work import plain_trial
from benchmarks._throughput_work import Work


__all__ = ["Ours", "Plain", "ours", "plain"]

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("_throughput_plain.py")


@dataclass(frozen=True)
class Plain:
    """A process per trial.

    Attributes:
        costs: Of each process.
        losses: Trainer's evaluation of each trial: a mean of the means of its batches.
        accuracies: On the task.
        adapters: Folders.
        seconds: Part of the script -> wall seconds of all trials together.
        index: CPU seconds in which lm-eval looked up its own tasks.
    """

    costs: list[Cost]
    losses: list[float]
    accuracies: list[float]
    adapters: list[Path]
    seconds: dict[str, float]
    index: float


@dataclass(frozen=True)
class Ours:
    """One call of our command.

    Attributes:
        cost: Of its process and those it has started.
        losses: Validation loss of each trial, nats per label token.
        accuracies: On the task.
        seconds: Part of a trial -> wall seconds of all trials together.
    """

    cost: Cost
    losses: list[float]
    accuracies: list[float]
    seconds: dict[str, float]


def plain(work: Work, *, index: bool, say: Callable[[str], object]) -> Plain:
    """Runs the script once for each trial.

    Args:
        work: What there is to do.
        index: See `plain_trial`.
        say: Where a line about each trial goes.
    """
    costs, results, adapters = [], [], []
    for number in range(len(work.trials)):
        trial = plain_trial(work, number, index=index)
        file, log = (work.folder / f"plain-{number}.{end}" for end in ("json", "log"))
        file.write_text(json.dumps(trial))
        command = [sys.executable, str(SCRIPT), str(file)]
        costs.append(run(command, log, _environment(work, "plain")))
        results.append(json.loads(log.read_text().strip().rpartition("\n")[2]))
        adapters.append(Path(trial["output"]))
        say(f"plain: trial {number}, {costs[-1].wall:.1f} s")
    return Plain(
        costs,
        [result["loss"] for result in results],
        [result["acc"] for result in results],
        adapters,
        _sums([result["seconds"] for result in results]),
        sum(result["cpu_seconds"]["index"] for result in results),
    )


def ours(work: Work, mode: str, seed: int) -> Ours:
    """Runs all trials with our command.

    Args:
        work: What there is to do.
        mode: "cold", "warm" or "packK".
        seed: With which the work was prepared.
    """
    arguments = {"cold": ["--cold"], "warm": []}
    chosen = arguments[mode] if mode in arguments else ["--pack", mode.removeprefix("pack")]
    url = f"sqlite:///{work.folder / mode}.db"
    trials = ["--sampler", "lhs", "--seed", str(seed), "--trials", str(len(work.trials))]
    where = ["--storage", url, "--study", mode, "--output", str(work.folder / mode)]
    command = [sys.executable, "-m", "objectives.tune", str(work.file), *trials, *where, *chosen]
    environment = _environment(work, mode)
    cost = run([*command, "--search-only"], work.folder / f"{mode}.log", environment)
    done = _in_order(work, optuna.load_study(study_name=mode, storage=url).trials)
    parts = ("setup", "training", "scoring")
    return Ours(
        cost,
        [trial.user_attrs["validation_loss"] for trial in done],
        [float(trial.value or 0) for trial in done],
        _sums([{part: t.user_attrs[f"seconds_{part}"] for part in parts} for t in done]),
    )


def _in_order(work: Work, done: list[FrozenTrial]) -> list[FrozenTrial]:
    """Checks that they are the work's trials."""
    got = [work.experiment.hyperparameters(trial.params) for trial in done]
    if got != list(work.trials):
        raise SystemExit("the command has drawn other trials than the work has")
    return done


def _environment(work: Work, mode: str) -> dict[str, str]:
    """Each mode finds the data sets as it has left them itself."""
    cache = str(work.folder / f"datasets-{mode}")
    return {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": cache}


def _sums(parts: list[dict[str, float]]) -> dict[str, float]:
    return {part: sum(each[part] for each in parts) for part in parts[0]}
