"""After the search: scores the best few adapters once on held-out tasks; imports no torch.

The test tasks are touched here and nowhere else, by a handful of adapters chosen on the
objective, beside the untuned base and what peft's defaults give on the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from datetime import UTC
from functools import partial
import math
from pathlib import Path
import time
from typing import Any
from typing import Literal

import optuna
from optuna.trial import FrozenTrial
from pydantic import TypeAdapter

from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import OutOfMemory
from objectives.job import Trainer
from objectives.job import until_it_fits
from objectives.record import CHECKPOINTING
from objectives.report.given import FinalRow
from objectives.result.adapters import best_trials
from objectives.settings.config import Experiment
from objectives.settings.search.space import PEFT_DEFAULTS
from objectives.training import checkpoint_files
from objectives.training.checkpoint_files import to_go_on_with


__all__ = ["DEFAULTS", "FINAL", "BaseExam", "base_exam", "examine_base", "final_test", "honesty"]
__all__ += ["looks"]

FINAL = "final"
"""Study user attribute: rows of the final test, their trials, its date, the looks before it."""
BASE_EXAM = "exam of the base"
"""Study user attribute: the row of the base where that was made before the search, its seconds."""
BASE, DEFAULTS = "base", "PEFT defaults"
_ROW = TypeAdapter(FinalRow)  # as JSON has it, lists for tuples


@dataclass(frozen=True)
class BaseExam:
    """The untuned base on the test tasks.

    Attributes:
        row: Of the final test.
        seconds: That it took, as the exam of each adapter will.
        loading: Seconds until the base was there, where it has to be loaded again for the others.
    """

    row: FinalRow
    seconds: float
    loading: float


def base_exam(study: optuna.Study, tasks: Sequence[str]) -> BaseExam | None:
    """The one on these tasks that the study keeps, if it does."""
    kept = study.user_attrs.get(BASE_EXAM)
    exam = None if kept is None else _BASE_EXAM.validate_python(kept)
    return exam if exam is not None and exam.row.scores.keys() == set(tasks) else None


def examine_base(
    experiment: Experiment,
    trainer: Trainer,
    study: optuna.Study,
    loading: float,
) -> None:
    """Before a search that must end in time: how long an exam takes. The final test has the row.

    The base is chosen by nobody, so that the test tasks are looked at no more than without this.
    """
    start = time.perf_counter()
    row = _Finals.of(experiment, trainer, [], Path()).exams([])[BASE]()
    took = time.perf_counter() - start
    if isinstance(row, FinalRow):
        study.set_user_attr(BASE_EXAM, asdict(BaseExam(row, took, loading)))
        print(f"final test: {_told(row)}")


def final_test(
    experiment: Experiment,
    trainer: Trainer,
    study: optuna.Study,
    folder: Path,
    say: Callable[[str], object] = print,
    order: Sequence[int] = (),
    in_time: Callable[[str], bool] = lambda name: True,
) -> list[FinalRow]:
    """Scores base, PEFT defaults and the best few adapters; the rows are kept in the study.

    Each row is kept as soon as it is there: a test that broke off goes on where it was. A model
    that has no scores, because its training diverged for example, is left out, said to be, and
    tried again by the next test, since memory or a rank may have been the reason.

    A study whose best trials have been scored before is not scored again, but shown as it was: a
    test that is looked at often is a validation. Where a longer search has found better trials
    since, all are scored, and the first look is told of.

    Args:
        experiment: Names tasks, number of adapters and training settings.
        trainer: Trains the PEFT defaults and examines all; it has the test tasks.
        study: Finished.
        folder: The adapter of the PEFT defaults goes to its `adapters/peft-defaults`.
        say: Where a line about each goes.
        order: See `best_trials`. A study whose best trials by value have been scored keeps to
            them.
        in_time: Whether there is time for the row of that name; otherwise the next test makes it.
    """
    trials = _candidates(study, experiment.scoring.best, order)
    test = _Test.of(study, trials, experiment.scoring.test)
    exams = _Finals.of(experiment, trainer, trials, folder).exams(trials)
    complete = test.rows.keys() == exams.keys()
    if not complete:
        test.forget_unnamed()
    for line in test.introduction(complete=complete):
        say(line)
    known = base_exam(study, experiment.scoring.test)
    if known is not None and BASE not in test.rows:
        test.rows = {BASE: known.row, **test.rows}
    for name, examine in exams.items():
        if name not in test.rows:
            if not in_time(name):
                say(f"final test: {name:<14}   left to the next call, as the budget ends before")
                continue
            result = examine()
            if not isinstance(result, FinalRow):
                say(f"final test: {name:<14}   left out: {result.message}")
                continue
            test.rows[name] = result
            study.set_user_attr(FINAL, test.to_json())
        say(f"final test: {_told(test.rows[name])}")
    return [test.rows[name] for name in exams if name in test.rows]


def _candidates(study: optuna.Study, count: int, order: Sequence[int]) -> list[FrozenTrial]:
    """The trials to be scored: those that have been before, if they are the best by value.

    They have been chosen by value before there was an order, and where there is none.
    """
    by_value = best_trials(study, count)
    scored = (study.user_attrs.get(FINAL) or {}).get("trials")
    if scored == [trial.number for trial in by_value]:
        return by_value
    return best_trials(study, count, order)


def _name(trial: FrozenTrial) -> str:
    return f"trial {trial.number}"


@dataclass
class _Finals:
    """The exams of one final test; batches that fitted one model are the next one's first."""

    experiment: Experiment
    trainer: Trainer
    folder: Path
    micro_batch: int
    scoring_batch: int
    checkpointing: bool | Literal["auto"]

    @classmethod
    def of(
        cls, experiment: Experiment, trainer: Trainer, trials: Sequence[FrozenTrial], folder: Path
    ) -> _Finals:
        given = experiment.training.micro_batch
        fitted = (t.user_attrs.get("micro_batch", given) for t in trials)
        micro_batch = min((given, *fitted))
        checkpointing = experiment.training.gradient_checkpointing
        if checkpointing == "auto":
            checkpointing = any(t.user_attrs.get(CHECKPOINTING) for t in trials) or "auto"
        batch = experiment.scoring.batch
        return cls(experiment, trainer, folder, micro_batch, batch, checkpointing)

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
        """Trained as a trial is, and worth what a trial is worth.

        The checkpoint stays until there is the row: the training may be longer than a worker's
        time, and its exam may be interrupted.
        """
        folder = str(self.folder / "adapters" / "peft-defaults")
        keeps = self.experiment.study.kept_checkpoints != "none"
        stem = checkpoint_files.stem(self.folder, PEFT_DEFAULTS) if keeps else None
        job = Job(
            None,
            PEFT_DEFAULTS,
            folder,
            self.micro_batch,
            self.scoring_batch,
            stem,
            gradient_checkpointing=self.checkpointing,
        )
        job, outcome = until_it_fits(
            DEFAULTS, to_go_on_with(job), lambda job: self.trainer(job, lambda _: False)
        )
        self.micro_batch, self.scoring_batch = job.micro_batch, job.scoring_batch
        if isinstance(outcome, OutOfMemory | Failed):
            return outcome
        assert isinstance(outcome, Finished), "nobody prunes it"
        value = None if math.isnan(outcome.value) else outcome.value
        row = self._row(DEFAULTS, value, job.adapter)
        if stem is not None and isinstance(row, FinalRow):
            checkpoint_files.delete(stem)
        return row

    def _row(
        self, name: str, value: float | None, adapter: str | None
    ) -> FinalRow | OutOfMemory | Failed:
        exam = Exam(adapter, self.micro_batch, self.scoring_batch)
        exam, result = until_it_fits(name, exam, self.trainer.examine)
        self.micro_batch, self.scoring_batch = exam.micro_batch, exam.scoring_batch
        if not isinstance(result, Examined):
            return result
        return FinalRow(name, value, result.validation_loss, result.scores, result.metrics)


@dataclass
class _Test:
    """One look at the test tasks, as the study keeps it.

    Attributes:
        tasks: That it is made on.
        trials: Numbers of the best trials.
        date: When it began.
        rows: By name.
        earlier: Date, trials and tasks of each look before it.
    """

    tasks: Sequence[str]
    trials: list[int]
    date: str
    rows: dict[str, FinalRow]
    earlier: list[dict[str, Any]]

    @classmethod
    def of(cls, study: optuna.Study, trials: Sequence[FrozenTrial], tasks: Sequence[str]) -> _Test:
        """The one of the same trials on the same tasks, or a new one."""
        numbers = [trial.number for trial in trials]
        json = study.user_attrs.get(FINAL)
        if json is None:
            return cls(tasks, numbers, _now(), {}, [])
        rows = {row.name: row for row in map(_ROW.validate_python, json["rows"])}
        same_tasks = all(row.scores.keys() == set(tasks) for row in rows.values())
        if set(json["trials"]) == set(numbers) and same_tasks:
            return cls(tasks, numbers, json["date"], rows, json["earlier"])
        tested = sorted({task for row in rows.values() for task in row.scores})
        look = {"date": json["date"], "trials": json["trials"], "tasks": tested}
        return cls(tasks, numbers, _now(), {}, [*json["earlier"], look])

    def forget_unnamed(self) -> None:
        """The rows whose metrics nobody knows: those to come could be of others."""
        rows = self.rows.items()
        self.rows = {name: row for name, row in rows if row.metrics.keys() == row.scores.keys()}

    def introduction(self, *, complete: bool) -> Iterator[str]:
        """What there is to say before the rows."""
        if complete:
            yield f"final test: was already made on {self.date}: shown, not repeated"
        elif self.rows:
            yield f"final test: begun on {self.date}, goes on"
        elif seen := _at(self.tasks, self.earlier):
            first = seen[0]
            yield (
                f"final test: look {len(seen) + 1} at the test tasks, whose scores now "
                f"flatter; the first was made on {first['date']}, of trials "
                + ", ".join(map(str, first["trials"]))
            )

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        return {
            "trials": self.trials,
            "rows": [asdict(row) for row in self.rows.values()],
            "date": self.date,
            "earlier": self.earlier,
        }


_BASE_EXAM = TypeAdapter(BaseExam)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _told(row: FinalRow) -> str:
    scores = [f"{row.heading(task)} {row.told(task, '+-')}" for task in row.scores]
    return "   ".join([f"{row.name:<14}", f"validation loss {row.validation_loss:.4f}", *scores])


def looks(study: optuna.Study, tasks: Sequence[str]) -> int:
    """How often adapters of the study have been scored on the test tasks, this time included."""
    return 1 + len(_at(tasks, study.user_attrs.get(FINAL, {}).get("earlier", ())))


def _at(tasks: Sequence[str], looks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The looks at one of the tasks; those of before tasks were kept may have been."""
    return [look for look in looks if "tasks" not in look or {*look["tasks"]} & {*tasks}]


def honesty(experiment: Experiment, looks: int) -> str:
    """How far the scores of the final test may be believed.

    Args:
        experiment: Its test tasks, and what the adapters were chosen by.
        looks: How often adapters of the study have been scored on those tasks.
    """
    scoring = experiment.scoring
    if both := [task for task in scoring.test if task in scoring.goals]:
        told = f"The adapters were chosen by {', '.join(both)}: their scores on it flatter."
    elif looks > 1:
        told = (
            f"This is look {looks} at these tasks, after more search: the scores flatter, "
            "as those of a validation do."
        )
    else:
        told = "The adapters were chosen without these tasks, and scored on them once."
    return told + ("" if scoring.limit is None else f" Of each task, {scoring.limit} documents.")
