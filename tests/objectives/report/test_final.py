"""The final test: once per choice of trials, with its date, and whatever happens on the way."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from rounding import LOSS
from trainings import memory_for

from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Report
from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.report.given import FinalRow
from objectives.report.given import Told
from objectives.report.report import write_report
from objectives.result.best_adapter import save_best
from objectives.result.final import FINAL
from objectives.result.final import final_test
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.search.space import PEFT_DEFAULTS
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


NAMES = ["base", "PEFT defaults", "trial 0"]


@pytest.fixture
def experiment(tiny_experiment: Experiment, task_folder: Path) -> Experiment:
    numbers = {"rank": 4, "alpha": 8, "effective_batch": 16, "weight_decay": 0, "dropout": 0}
    rates = {"low": 1e-6, "high": 1e-1, "log": True}
    search = SearchSettings.model_validate({**numbers, "learning_rate": rates})
    scoring = tiny_experiment.scoring.model_copy(
        update={"test": ["colours"], "tasks": str(task_folder), "best": 1}
    )
    training = TrainingSettings(validations=1)
    return tiny_experiment.model_copy(
        update={"search": search, "scoring": scoring, "training": training}
    )


@pytest.fixture
def runner(experiment: Experiment, bench: Bench) -> Runner:
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, ["colours"])
    return Runner(experiment, bench, scorer)


@pytest.fixture
def study(experiment: Experiment, runner: Runner, tmp_path: Path) -> optuna.Study:
    """Of one trial."""
    study = optuna.create_study()
    search(study, experiment, runner, tmp_path, 1e-4)
    return study


def search(
    study: optuna.Study, experiment: Experiment, runner: Runner, folder: Path, rate: float
) -> None:
    study.enqueue_trial({"learning_rate": rate})
    study.optimize(LoraObjective(experiment, runner, folder), n_trials=1)


class Stopping:
    """A runner whose process is stopped at an exam."""

    def __init__(self, runner: Runner, exams: int) -> None:
        self._runner, self._left = runner, exams
        self.ask = runner.ask

    def __call__(self, job: Job, report: Report) -> Outcome:
        return self._runner(job, report)

    def examine(self, exam: Exam) -> Examined | OutOfMemory | Failed:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._runner.examine(exam)


def test_a_final_test_is_made_once_and_then_shown(
    experiment: Experiment, runner: Runner, study: optuna.Study, tmp_path: Path
) -> None:
    def tested() -> tuple[list[FinalRow], list[str]]:
        said: list[str] = []
        return final_test(experiment, runner, study, tmp_path, said.append), said

    rows, said = tested()
    date = study.user_attrs[FINAL]["date"]
    assert [row.name for row in rows] == NAMES
    assert all(0 < error < 0.1 for row in rows for _, error in row.scores.values())
    assert rows[1].value == rows[1].validation_loss, "the objective is the loss"
    search(study, experiment, runner, tmp_path, 1e-6)  # no better
    again, resaid = tested()
    assert again == rows
    assert resaid == [f"final test: was already made on {date}: shown, not repeated", *said]
    search(study, experiment, runner, tmp_path, 1e-2)
    later, told = tested()
    assert [row.name for row in later] == ["base", "PEFT defaults", "trial 2"]
    assert told[0].endswith(f"now flatter; the first was made on {date}, of trials 0")


def test_the_candidates_are_in_the_order_that_is_handed_in(
    experiment: Experiment, runner: Runner, study: optuna.Study, tmp_path: Path
) -> None:
    """Of a study that was tested before by value, they stay as long as they are the best by it."""
    search(study, experiment, runner, tmp_path, 1e-6)  # no better
    rows = final_test(experiment, runner, study, tmp_path, order=[1])
    assert [row.name for row in rows] == ["base", "PEFT defaults", "trial 1"]
    save_best(experiment, study, rows, tmp_path, [1])
    assert "Trial 1 of" in (tmp_path / "best_adapter" / "README.md").read_text()
    by_value = optuna.create_study()
    by_value.add_trials(study.trials)
    shown = final_test(experiment, runner, by_value, tmp_path)
    assert [row.name for row in shown] == NAMES
    assert final_test(experiment, runner, by_value, tmp_path, order=[1]) == shown


def test_one_that_broke_off_goes_on(
    experiment: Experiment, runner: Runner, study: optuna.Study, tmp_path: Path
) -> None:
    for exams in (1, 1):
        with pytest.raises(KeyboardInterrupt):
            final_test(experiment, Stopping(runner, exams), study, tmp_path)
    said: list[str] = []
    rows = final_test(experiment, Stopping(runner, 1), study, tmp_path, said.append)
    assert [row.name for row in rows] == NAMES
    assert "begun on" in said[0] and len(said) == 1 + len(NAMES)
    study.set_user_attr(FINAL, None)
    assert rows == final_test(experiment, runner, study, tmp_path)


class CutOff:
    """A runner whose process is stopped at a validation of its training, or at an exam."""

    def __init__(self, runner: Runner, stop: int) -> None:
        self._runner, self._left = runner, stop
        self.ask = runner.ask
        self.jobs: list[Job] = []
        self.outcomes: list[Outcome] = []

    def _count(self) -> bool:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return False

    def __call__(self, job: Job, report: Report) -> Outcome:
        self.jobs.append(job)
        self.outcomes.append(self._runner(job, lambda validation: self._count()))
        return self.outcomes[-1]

    def examine(self, exam: Exam) -> Examined | OutOfMemory | Failed:
        self._count()
        return self._runner.examine(exam)


@pytest.mark.parametrize("stop", [3, 4], ids=["the training", "its exam"])
def test_a_training_of_the_defaults_that_is_cut_off_goes_on(
    experiment: Experiment, bench: Bench, runner: Runner, tmp_path: Path, stop: int
) -> None:
    training = experiment.training.model_copy(update={"validations": 2})
    experiment = experiment.model_copy(update={"training": training})
    runner = Runner(experiment, bench, runner._scorer)
    study = optuna.create_study()
    search(study, experiment, runner, tmp_path, 1e-4)
    expected = final_test(experiment, runner, study, tmp_path)
    study.set_user_attr(FINAL, None)
    with pytest.raises(KeyboardInterrupt):
        final_test(experiment, CutOff(runner, stop), study, tmp_path)
    assert len(list(tmp_path.rglob("*.checkpoint"))) == 1
    later = CutOff(runner, 0)
    assert final_test(experiment, later, study, tmp_path) == expected
    (outcome,) = later.outcomes
    assert isinstance(outcome, Finished) and outcome.training.resumed_at > 0
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_the_defaults_begin_as_the_finalists_fitted(
    experiment: Experiment, runner: Runner, study: optuna.Study, tmp_path: Path
) -> None:
    auto = experiment.training.model_copy(update={"gradient_checkpointing": "auto"})
    experiment = experiment.model_copy(update={"training": auto})
    (trial,) = study.trials
    for fitted, expected in (({}, "auto"), ({"gradient_checkpointing": True}, True)):
        trial.user_attrs |= fitted
        other = optuna.create_study()
        other.add_trial(trial)
        watched = CutOff(runner, 0)
        final_test(experiment, watched, other, tmp_path)
        assert [job.gradient_checkpointing for job in watched.jobs] == [expected]


def test_other_test_tasks_are_another_test(
    experiment: Experiment, bench: Bench, study: optuna.Study, tmp_path: Path
) -> None:
    """And a look at tasks of which none was looked at before is their first."""

    def tested(*tasks: str) -> tuple[str, str]:
        """What is said before the rows, and on the card."""
        scoring = experiment.scoring.model_copy(update={"test": list(tasks)})
        other = experiment.model_copy(update={"scoring": scoring})
        scorer = Scorer.load(scoring, bench.tokenizer, tasks) if tasks else None
        said: list[str] = []
        rows = final_test(other, Runner(other, bench, scorer), study, tmp_path, said.append)
        assert [list(row.scores) for row in rows] == [list(tasks)] * len(NAMES)
        save_best(other, study, rows, tmp_path)
        card = (tmp_path / "best_adapter" / "README.md").read_text()
        return "\n".join(said[: -len(NAMES)]), card

    for tasks in (("colours",), (), ("overlap",)):
        said, card = tested(*tasks)
        assert said == "" and "This is look" not in card
    said, card = tested("colours", "overlap")
    assert "look 3 at the test tasks" in said and "of trials 0" in said
    assert "This is look 3" in card
    kept = study.user_attrs[FINAL]
    assert [look.pop("tasks") for look in kept["earlier"]] == [["colours"], [], ["overlap"]]
    study.set_user_attr(FINAL, kept)  # as a version of before has it
    said, card = tested("colours")
    assert "look 5 at the test tasks" in said and "This is look 5" in card


def test_the_metric_of_each_task_is_named_everywhere(
    experiment: Experiment, bench: Bench, study: optuna.Study, tmp_path: Path
) -> None:
    """A test of its own has no accuracy: its usual metric is F1, which is no mean."""
    tasks = ["colours", "overlap"]
    scoring = experiment.scoring.model_copy(update={"test": tasks})
    experiment = experiment.model_copy(update={"scoring": scoring})
    runner = Runner(experiment, bench, Scorer.load(scoring, bench.tokenizer, tasks))
    said: list[str] = []
    rows = final_test(experiment, runner, study, tmp_path, said.append)
    for row, line in zip(rows, said, strict=True):
        (acc, error), (f1, none) = row.scores.values()
        assert f"   colours acc {acc:.4f} +- {error:.4f}   overlap f1 {f1:.4f} (no error)" in line
        assert math.isnan(none) and row.metrics == {"colours": "acc", "overlap": "f1"}
    kept = study.user_attrs[FINAL]["rows"]
    assert all(row["metrics"] == {"colours": "acc", "overlap": "f1"} for row in kept)
    save_best(experiment, study, rows, tmp_path)
    card = (tmp_path / "best_adapter" / "README.md").read_text()
    assert "| validation loss | colours acc | overlap f1 |" in card and "(no error) |" in card
    page = write_report(study, tmp_path, title="-", space={}, told=Told(final=rows)).read_text()
    assert "colours acc" in page and "overlap f1" in page and "(no error)" in page
    assert "nan" not in card and "± nan" not in page


def without_metrics(study: optuna.Study, count: int) -> list[dict[str, Any]]:
    """Its test, as far as so many rows, as a study of before has it."""
    kept = dict(study.user_attrs[FINAL])
    kept["rows"] = [{k: v for k, v in row.items() if k != "metrics"} for row in kept["rows"]]
    study.set_user_attr(FINAL, {**kept, "rows": kept["rows"][:count]})
    return list(kept["rows"])


def test_a_test_that_did_not_name_its_metrics_is_shown_as_it_was(
    experiment: Experiment, runner: Runner, study: optuna.Study, tmp_path: Path
) -> None:
    """Where it is to go on it begins anew, since its rows could be of another metric."""
    rows = final_test(experiment, runner, study, tmp_path)
    before = without_metrics(study, 3)
    said: list[str] = []
    shown = final_test(experiment, Stopping(runner, 0), study, tmp_path, said.append)
    assert [row.scores for row in shown] == [row.scores for row in rows]
    assert "not repeated" in said[0] and "   colours 0." in said[1]
    assert study.user_attrs[FINAL]["rows"] == before
    without_metrics(study, 2)
    assert final_test(experiment, runner, study, tmp_path) == rows
    assert all(row["metrics"] == {"colours": "acc"} for row in study.user_attrs[FINAL]["rows"])


def test_a_training_that_diverges_is_left_out(
    experiment: Experiment,
    runner: Runner,
    study: optuna.Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wild = replace(PEFT_DEFAULTS, learning_rate=1e30)
    monkeypatch.setattr("objectives.result.final.PEFT_DEFAULTS", wild)
    said: list[str] = []
    rows = final_test(experiment, runner, study, tmp_path, said.append)
    assert [row.name for row in rows] == ["base", "trial 0"]
    assert "left out: " in said[1] and "learning_rate 1e+30" in said[1]
    again: list[str] = []
    assert final_test(experiment, Stopping(runner, 0), study, tmp_path, again.append) == rows
    assert "goes on" in again[0] and again[1:] == said, "tried again: the reason may be gone"


def test_little_memory_changes_no_row(
    experiment: Experiment, runner: Runner, study: optuna.Study, bench: Bench, tmp_path: Path
) -> None:
    """What fitted the base is where the next one begins."""
    rows = final_test(experiment, runner, study, tmp_path)
    study.set_user_attr(FINAL, None)
    with memory_for(bench, 2):
        little = final_test(experiment, runner, study, tmp_path)
    for row, same in zip(rows, little, strict=True):
        assert same.validation_loss == pytest.approx(row.validation_loss, rel=LOSS)
        assert same.scores == row.scores
    study.set_user_attr(FINAL, None)
    said: list[str] = []
    with memory_for(bench, 0):
        assert final_test(experiment, runner, study, tmp_path, said.append) == []
    assert all("left out: out of memory" in line for line in said)
