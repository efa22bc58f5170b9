"""After the search: scores the best few adapters once on held-out tasks; imports no torch.

The test tasks are touched here and nowhere else, by a handful of adapters chosen on the
objective, beside the untuned base and what peft's defaults give on the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from datetime import UTC
from functools import partial
import json
import math
from pathlib import Path
import shutil
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from objectives.adapters import best_trials
from objectives.config import Experiment
from objectives.halving import until_it_fits
from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Examiner
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import OutOfMemory
from objectives.model_card import model_card
from objectives.report.figures import FinalRow
from objectives.search_space import PEFT_DEFAULTS


__all__ = ["FINAL", "final_test", "save_best"]

FINAL = "final"
"""Study user attribute: the rows of the final test, the trials they are of, and its date."""
BASE, DEFAULTS = "base", "PEFT defaults"


def final_test(
    experiment: Experiment,
    run: Examiner,
    study: optuna.Study,
    folder: Path,
    say: Callable[[str], object] = print,
) -> list[FinalRow]:
    """Scores base, PEFT defaults and the best few adapters; the rows are kept in the study.

    Each row is kept as soon as it is there: a test that broke off goes on where it was. A model
    that has no scores, because its training diverged for example, is left out and said to be.

    A study whose best trials have been scored before is not scored again, but shown as it was: a
    test that is looked at often is a validation. Where a longer search has found better trials
    since, they are scored, and the earlier look is told of.

    Args:
        experiment: Names tasks, number of adapters and training settings.
        run: Trains the PEFT defaults and examines all; it has the test tasks.
        study: Finished.
        folder: The adapter of the PEFT defaults goes to its `adapters/peft-defaults`.
        say: Where a line about each goes.
    """
    trials = best_trials(study, experiment.scoring.best)
    rows = _kept(study, trials, experiment.scoring.test)
    _tell_of_earlier(study, rows, complete=len(rows) == len(trials) + 2, say=say)
    finals = _Finals.of(experiment, run, trials, folder)
    for name, examine in finals.exams(trials).items():
        if name not in rows:
            result = examine()
            if not isinstance(result, FinalRow):
                say(f"final test: {name:<14}   left out: {result.message}")
                continue
            rows[name] = result
            _keep(study, trials, rows)
        say(f"final test: {_told(rows[name])}")
    return [rows[name] for name in _names(trials) if name in rows]


def _names(trials: Sequence[FrozenTrial]) -> list[str]:
    return [BASE, DEFAULTS, *(_name(trial) for trial in trials)]


def _name(trial: FrozenTrial) -> str:
    return f"trial {trial.number}"


@dataclass
class _Finals:
    """The exams of one final test; batches that fitted one model are the next one's first."""

    experiment: Experiment
    run: Examiner
    folder: Path
    micro_batch: int
    scoring_batch: int

    @classmethod
    def of(
        cls, experiment: Experiment, run: Examiner, trials: Sequence[FrozenTrial], folder: Path
    ) -> _Finals:
        fitted = [trial.user_attrs["micro_batch"] for trial in trials]
        micro_batch = min([experiment.training.micro_batch, *fitted])
        return cls(experiment, run, folder, micro_batch, experiment.scoring.batch)

    def exams(
        self, trials: Sequence[FrozenTrial]
    ) -> dict[str, Callable[[], FinalRow | OutOfMemory | Failed]]:
        """By name, in the order of the rows."""
        return {
            BASE: partial(self._row, BASE, None, None),
            DEFAULTS: self._defaults,
            **{
                _name(t): partial(self._row, _name(t), t.value, t.user_attrs["adapter"])
                for t in trials
            },
        }

    def _defaults(self) -> FinalRow | OutOfMemory | Failed:
        """Trained as a trial is, and worth what a trial is worth."""
        folder = str(self.folder / "adapters" / "peft-defaults")
        job = Job(None, PEFT_DEFAULTS, folder, self.micro_batch, self.scoring_batch)
        job, outcome = until_it_fits(DEFAULTS, job, lambda job: self.run(job, lambda _: False))
        if isinstance(outcome, OutOfMemory | Failed):
            return outcome
        assert isinstance(outcome, Finished), "nobody prunes it"
        value = None if math.isnan(outcome.value) else outcome.value
        return self._row(DEFAULTS, value, job.adapter)

    def _row(
        self, name: str, value: float | None, adapter: str | None
    ) -> FinalRow | OutOfMemory | Failed:
        exam = Exam(adapter, self.micro_batch, self.scoring_batch)
        exam, result = until_it_fits(name, exam, self.run.examine)
        self.micro_batch, self.scoring_batch = exam.micro_batch, exam.scoring_batch
        if not isinstance(result, Examined):
            return result
        return FinalRow(name, value, result.validation_loss, result.scores)


def _kept(
    study: optuna.Study, trials: Sequence[FrozenTrial], tasks: Sequence[str]
) -> dict[str, FinalRow]:
    """Rows by name of an earlier test of the same trials on the same tasks."""
    before = study.user_attrs.get(FINAL)
    if before is None or before["trials"] != [trial.number for trial in trials]:
        return {}
    rows = {json["name"]: _row(json) for json in before["rows"]}
    return {name: row for name, row in rows.items() if row.scores.keys() == set(tasks)}


def _tell_of_earlier(
    study: optuna.Study, rows: Mapping[str, FinalRow], *, complete: bool, say: Callable[..., Any]
) -> None:
    before = study.user_attrs.get(FINAL)
    if before is None:
        return
    if complete:
        say(f"final test: was already made on {before['date']}: shown, not repeated")
    elif rows:
        say(f"final test: broke off on {before['date']}, goes on")
    else:
        earlier = ", ".join(str(number) for number in before["trials"])
        say(
            "final test: a second look at the test tasks, whose scores now flatter; "
            f"the first was made on {before['date']}, of trials {earlier}"
        )


def _keep(
    study: optuna.Study, trials: Sequence[FrozenTrial], rows: Mapping[str, FinalRow]
) -> None:
    test = {
        "trials": [trial.number for trial in trials],
        "rows": [_json(rows[name]) for name in _names(trials) if name in rows],
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    study.set_user_attr(FINAL, test)


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
