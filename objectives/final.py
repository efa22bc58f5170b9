"""After the search: scores the best few adapters once on held-out tasks, and keeps the best one.

The test tasks are touched here and nowhere else, by a handful of adapters chosen on the
objective, beside the untuned base and what peft's defaults give on the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from datetime import UTC
import json
from pathlib import Path
import shutil
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from objectives import lora
from objectives.adapters import best_trials
from objectives.bench import Bench
from objectives.bench import load_adapter
from objectives.bench import release
from objectives.bench import save_adapter
from objectives.config import Experiment
from objectives.model_card import model_card
from objectives.report.figures import FinalRow
from objectives.score import Scorer
from objectives.score import validation_loss
from objectives.search_space import PEFT_DEFAULTS


__all__ = ["FINAL", "final_test", "save_best"]

FINAL = "final"
"""Study user attribute: the rows of the final test, the trials they are of, and its date."""


def final_test(
    experiment: Experiment,
    bench: Bench,
    scorer: Scorer,
    study: optuna.Study,
    folder: Path,
    say: Callable[[str], object] = print,
) -> list[FinalRow]:
    """Scores base, PEFT defaults and the best few adapters; the rows are kept in the study.

    A study whose best trials have been scored before is not scored again, but shown as it was: a
    test that is looked at often is a validation. Where a longer search has found better trials
    since, they are scored, and the earlier look is told of.

    Args:
        experiment: Names tasks, number of adapters and training settings.
        bench: With nothing on its base.
        scorer: With the test tasks in it.
        study: Finished.
        folder: The adapter of the PEFT defaults goes to its `adapters/peft-defaults`.
        say: Where a line about each goes.
    """
    trials = best_trials(study, experiment.scoring.best)
    numbers = [trial.number for trial in trials]
    before = study.user_attrs.get(FINAL)
    if before is not None and before["trials"] == numbers:
        rows = [_row(row) for row in before["rows"]]
        say(f"final test: was already made on {before['date']}: shown, not repeated")
        for row in rows:
            say(f"final test: {_told(row)}")
        return rows
    if before is not None:
        earlier = ", ".join(str(number) for number in before["trials"])
        say(
            "final test: a second look at the test tasks, whose scores now flatter; "
            f"the first was made on {before['date']}, of trials {earlier}"
        )
    rows = []
    for name, value, model in _contestants(experiment, bench, trials, folder):
        with model as scored:
            rows.append(_score(experiment, bench, scorer, name, value, scored))
        say(f"final test: {_told(rows[-1])}")
    test = {"trials": numbers, "rows": [_json(row) for row in rows], "date": _now()}
    study.set_user_attr(FINAL, test)
    return rows


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _contestants(
    experiment: Experiment, bench: Bench, trials: Sequence[FrozenTrial], folder: Path
) -> Iterator[tuple[str, float | None, Any]]:
    """Name, objective value and a context that gives the model."""
    yield "base", None, _base(bench)
    yield "PEFT defaults", None, _defaults(experiment, bench, folder)
    for trial in trials:
        yield f"trial {trial.number}", trial.value, _adapter(bench, trial.user_attrs["adapter"])


@contextmanager
def _base(bench: Bench) -> Iterator[nn.Module]:
    yield bench.base


@contextmanager
def _defaults(experiment: Experiment, bench: Bench, folder: Path) -> Iterator[nn.Module]:
    settings = experiment.training.model_copy(update={"validations": 1})
    trained = lora.train(bench, settings, PEFT_DEFAULTS, report=lambda step, loss: None)
    try:
        save_adapter(trained.model, folder / "adapters" / "peft-defaults")
        yield trained.model
    finally:
        release(bench, trained.model)


@contextmanager
def _adapter(bench: Bench, folder: str) -> Iterator[nn.Module]:
    model = load_adapter(bench, Path(folder))
    try:
        yield model
    finally:
        release(bench, model)


def _score(
    experiment: Experiment,
    bench: Bench,
    scorer: Scorer,
    name: str,
    value: float | None,
    model: nn.Module,
) -> FinalRow:
    loss = validation_loss(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=experiment.training.micro_batch,
        accelerator=bench.accelerator,
    )
    scores = {task: scorer.score(model, task) for task in experiment.scoring.test}
    return FinalRow(name, value, loss, {t: (s.value, s.stderr) for t, s in scores.items()})


def _told(row: FinalRow) -> str:
    scores = [f"{task} {value:.4f} +- {error:.4f}" for task, (value, error) in row.scores.items()]
    return "   ".join([f"{row.name:<14}", f"validation loss {row.validation_loss:.4f}", *scores])


def _json(row: FinalRow) -> dict[str, Any]:
    return {**asdict(row), "scores": {task: list(pair) for task, pair in row.scores.items()}}


def _row(json: dict[str, Any]) -> FinalRow:
    scores = {task: (value, error) for task, (value, error) in json["scores"].items()}
    return FinalRow(json["name"], json["value"], json["validation_loss"], scores)


def save_best(
    experiment: Experiment, study: optuna.Study, rows: Sequence[FinalRow], folder: Path
) -> Path | None:
    """Copies the best adapter to `folder/best_adapter`, with its hyperparameters and a card."""
    best = best_trials(study, 1)
    if not best:
        return None
    (trial,) = best
    target = folder / "best_adapter"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trial.user_attrs["adapter"], target)
    chosen = asdict(experiment.hyperparameters(trial.params))
    settings = {"hyperparameters": chosen, "experiment": experiment.model_dump(mode="json")}
    (target / "experiment.json").write_text(json.dumps(settings, indent=2) + "\n")
    (target / "README.md").write_text(model_card(experiment, study.study_name, trial, rows))
    return target
