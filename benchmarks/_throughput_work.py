"""The work that throughput.py gives to every mode: an experiment file, its trials, their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
import random
from typing import Any

import optuna

from objectives.data.corpus import Corpus
from objectives.data.corpus import Sample
from objectives.data.corpus import step_batches
from objectives.model.bench import load_data
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from optuna_partition import LatinHypercubeSampler


__all__ = ["STANDIN", "Work", "in_order", "plain_trial", "prepare"]

STANDIN = Path(__file__).parents[1] / "examples" / "standin"
TASK = "standin_validation"

# examples/standin.toml with what Trainer can do as well: batches that its micro-batches divide,
# one validation, no dropout (its masks are other ones: Trainer's loader draws in between).
EXPERIMENT = """
[model]
name = "{model}"

[data]
train = "{standin}/data/train.jsonl"
validation = "{standin}/data/validation.jsonl"
template = "### Instruction:\\n{{instruction}}\\n\\n### Response:\\n"
mask_prompt = true
max_length = 96
limit = {rows}

[training]
micro_batch = {micro_batch}
validations = 1

[scoring]
objective = "{task}"
tasks = "{standin}/tasks"
{limit}

[search]
learning_rate = {{low = 1e-5, high = 1e-2, log = true}}
weight_decay = {{low = 1e-5, high = 1e-1, log = true}}
rank = {{low = 2, high = 64, log = true}}
alpha = {{low = 1, high = 64}}
dropout = 0.0
effective_batch = {{choices = [4, 8, 16, 32, 64]}}
"""


@dataclass(frozen=True)
class Work:
    """What every mode is given.

    Attributes:
        file: The experiment.
        experiment: What it says.
        corpus: Its samples.
        trials: Hyperparameters of each trial.
        folder: For all that a mode writes.
    """

    file: Path
    experiment: Experiment
    corpus: Corpus
    trials: Sequence[Hyperparameters]
    folder: Path

    def order(self, chosen: Hyperparameters) -> list[int]:
        """Numbers of the training samples as the trial meets them."""
        training = self.experiment.training
        return in_order(self.corpus.train, training, chosen.effective_batch)

    def tokens(self) -> int:
        """Read in all trainings together, padding left out."""
        lengths = [len(sample.input_ids) for sample in self.corpus.train]
        return sum(lengths[i] for chosen in self.trials for i in self.order(chosen))


def in_order(
    samples: Sequence[Sample], training: TrainingSettings, effective_batch: int
) -> list[int]:
    """Numbers of the samples as a training meets them: `steps` of marked samples."""
    marked = [Sample((i,) * len(s.input_ids), s.labels) for i, s in enumerate(samples)]
    batches = step_batches(
        marked,
        effective_batch=effective_batch,
        micro_batch=training.micro_batch,
        epochs=training.epochs,
        seed=training.seed,
        pad_id=0,
    )
    return [int(i) for step in batches for batch in step for i in batch["input_ids"][:, 0]]


def prepare(
    folder: Path, model: Path, *, rows: int, micro_batch: int, trials: int, seed: int, limit: int
) -> Work:
    """Writes the experiment, and the rows that it takes as files, in the order it has them in.

    Args:
        folder: Empty.
        model: Folder of the base.
        rows: Training rows.
        micro_batch: Samples per forward.
        trials: How many; a Latin hypercube over the search space.
        seed: Of that.
        limit: Questions of the task; 0 takes all.
    """
    file = folder / "experiment.toml"
    text = EXPERIMENT.format(
        model=model,
        standin=STANDIN,
        rows=rows,
        micro_batch=micro_batch,
        task=TASK,
        limit=f"limit = {limit}" if limit else "",
    )
    file.write_text(text)
    experiment = load_experiment(file)
    _, corpus = load_data(experiment)
    parts = (("train", rows, corpus.train), ("validation", None, corpus.validation))
    for part, most, samples in parts:
        lines = (STANDIN / "data" / f"{part}.jsonl").read_text().splitlines()
        random.Random(experiment.data.split_seed).shuffle(lines)  # as objectives.data.corpus does
        taken = lines[:most]
        assert len(taken) == len(samples), "a row without a sample would shift those behind it"
        (folder / f"{part}.jsonl").write_text("".join(f"{line}\n" for line in taken))
    return Work(file, experiment, corpus, _drawn(experiment, trials, seed), folder)


def _drawn(experiment: Experiment, trials: int, seed: int) -> list[Hyperparameters]:
    """What `--sampler lhs` draws with that seed in every mode."""
    study = optuna.create_study(sampler=LatinHypercubeSampler(n_trials=trials, seed=seed))
    drawn = [study.ask(experiment.search_space()).params for _ in range(trials)]
    return [experiment.hyperparameters(params) for params in drawn]


def plain_trial(work: Work, number: int, *, index: bool) -> dict[str, Any]:
    """What the plain script reads.

    Args:
        work: Has the trial.
        number: The trial's.
        index: Whether it lets lm-eval look up all its own tasks, as it does unless told otherwise.
    """
    experiment, chosen = work.experiment, work.trials[number]
    return {
        "model": experiment.model.name,
        "train": str(work.folder / "train.jsonl"),
        "validation": str(work.folder / "validation.jsonl"),
        "order": work.order(chosen),
        "template": experiment.data.template,
        "max_length": experiment.data.max_length,
        "micro_batch": experiment.training.micro_batch,
        "schedule": experiment.training.schedule,
        "warmup": experiment.training.warmup,
        "seed": experiment.training.seed,
        "tasks": experiment.scoring.tasks,
        "task": experiment.scoring.objective,
        "limit": experiment.scoring.limit,
        "scoring_batch": experiment.scoring.batch,
        "index": index,
        "output": str(work.folder / f"plain-{number}"),
        **{name: value for name, value in asdict(chosen).items() if value is not None},
    }
