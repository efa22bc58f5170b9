"""For notebooks: one training, one score, the best adapter of a study; see docs/python.md."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import shutil
from tempfile import mkdtemp
from typing import Any
import weakref

import optuna

from objectives.errors import UserError
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Training
from objectives.job import until_it_fits
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import release
from objectives.result.adapters import best_trials
from objectives.scoring.criterion import criterion
from objectives.scoring.function import NoScore
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.combinations import check_chosen
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import hyperparameters_of
from objectives.settings.sections.scoring import IN_TRAINING
from objectives.settings.sections.scoring import LOSS
from objectives.training.loop import validate
from objectives.training.shared import shared_runner


__all__ = ["Trained", "best_adapter", "score", "train_once"]


@dataclass(frozen=True)
class Trained:
    """A training that is done.

    Attributes:
        value: What a trial of these hyperparameters is worth.
        stderr: Standard error of a score; None where the value is the validation loss.
        loss: Validation loss at the end, nats per token.
        validations: Those on the way, the last one at the end.
        hyperparameters: All of them.
        training: Tokens and seconds.
        adapter: Folder of the adapter, as long as this object is there.
    """

    value: float
    stderr: float | None
    loss: float
    validations: Sequence[Validation]
    hyperparameters: Hyperparameters
    training: Training
    adapter: Path

    def save(self, folder: str | Path) -> Path:
        """Copies the adapter to a new folder, as peft reads it.

        Raises:
            UserError: The folder is there and not empty.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{folder}: is there and not empty; give another folder")
        return Path(shutil.copytree(self.adapter, target, dirs_exist_ok=True))


def train_once(
    experiment: Experiment,
    *,
    on_validation: Callable[[Validation], object] = lambda validation: None,
    **hyperparameters: Any,
) -> Trained:
    """Trains one adapter, as a trial is trained, and scores it.

    The base stays loaded for the next call, until an experiment of another base or other data is
    trained.

    Args:
        experiment: Base, data, settings and objective.
        on_validation: Called with each validation on the way.
        **hyperparameters: `learning_rate`, `rank` and so on, and settings of `[training]` that may
            be searched, such as `dora`. What is left out is as `[search]` fixes it, or PEFT's
            default.

    Raises:
        UserError: A hyperparameter is none or cannot have that value, the experiment cannot be run
            here, or the training ends without a value.
    """
    chosen = hyperparameters_of(hyperparameters, experiment.search)
    check_chosen(experiment, chosen)
    runner = shared_runner(experiment)
    folder = Path(mkdtemp(prefix="adapter-")) / "adapter"
    validations: dict[int, Validation] = {}  # by step: a training may begin again

    def report(validation: Validation) -> bool:
        validations[validation.step] = validation
        on_validation(validation)
        return False

    training = experiment.training
    job = Job(
        None,
        chosen,
        str(folder),
        training.micro_batch,
        experiment.scoring.batch,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    _, outcome = until_it_fits("The training", job, lambda job: runner(job, report))
    if not isinstance(outcome, Finished):
        shutil.rmtree(folder.parent, ignore_errors=True)
        why = getattr(outcome, "message", "it was stopped")
        raise UserError(f"the training has no value: {why}; change its hyperparameters")
    trained = Trained(
        outcome.value,
        outcome.stderr,
        outcome.training.validation_loss,
        tuple(validations.values()),
        chosen,
        outcome.training,
        folder,
    )
    weakref.finalize(trained, shutil.rmtree, folder.parent, ignore_errors=True)
    return trained


def score(
    experiment: Experiment,
    adapter: str | Path | Trained | None = None,
    *,
    on: str | None = None,
) -> Score:
    """Scores an adapter, or the base as it is.

    Args:
        experiment: Base, data and `[scoring]`.
        adapter: A training's, or a folder; None is for the base.
        on: "loss", "preference_accuracy", an lm-eval task, or a function "module:name"; by default
            the experiment's objective.

    Raises:
        UserError: There is no such adapter or task, or a function gives no number.
    """
    folder = adapter.adapter if isinstance(adapter, Trained) else adapter and Path(adapter)
    if folder and not (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder}: holds no adapter; give the folder that `save` or a study made")
    bench, scoring = shared_runner(experiment).bench, experiment.scoring
    names = scoring.goals if on is None else {on: 1.0}
    tasks = [name for name in names if name not in IN_TRAINING]
    scorer = Scorer.load(scoring, bench.tokenizer, tasks) if tasks else None
    try:
        if folder:
            load_adapter(bench, folder)
        if scorer is None:
            return _in_training(experiment, bench, on or str(scoring.objective))
        return _on_tasks(scorer, bench, on)
    finally:
        release(bench, bench.base)


def _in_training(experiment: Experiment, bench: Bench, on: str) -> Score:
    settings = experiment.training
    found = validate(bench, bench.base, settings, criterion(settings))
    value = found.loss if on == LOSS else found.accuracy
    if value is None:
        raise UserError(f'on = "{on}": is of preferences, and the training has none; take "loss"')
    return Score(on, on, value, math.nan, len(bench.corpus.validation))


def _on_tasks(scorer: Scorer, bench: Bench, on: str | None) -> Score:
    try:
        if on is not None:
            return scorer.score(bench.base, on, accelerator=bench.accelerator)
        whole, _ = scorer.goals(
            lambda goal: scorer.score(bench.base, goal, accelerator=bench.accelerator)
        )
    except NoScore as error:
        raise UserError(f"there is no score: {error}") from None
    return whole


def best_adapter(study: optuna.Study) -> Path:
    """The folder of the best trial's adapter, of those that are here.

    Raises:
        UserError: No adapter of the study is here.
    """
    best = best_trials(study, 1)
    if not best:
        raise UserError(
            f"{study.study_name}: no adapter of its trials is here; call this where they ran, in "
            "the folder in which they were started"
        )
    return Path(best[0].user_attrs["adapter"])
