"""Runs jobs and exams on a bench: trains, saves, scores; knows no Optuna and no process.

In a gang every rank runs the same job at the same time on a bench of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
import time
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from objectives.errors import UserError
from objectives.job import Ended
from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Report
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.model.memory import is_out_of_memory
from objectives.model.memory import peak_memory
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections import TrainingSettings
from objectives.training.checkpoint import Checkpoint
from objectives.training.checkpoint import fingerprint
from objectives.training.checkpoint import made_with
from objectives.training.checkpoint_files import checkpoint_file
from objectives.training.learner import Learner
from objectives.training.lora import train
from objectives.training.lora import validate
from objectives.training.tracking import tracked


__all__ = ["Runner", "check_direction", "load_runner", "load_scorer"]


class Runner:
    """Job after job on one bench: each finds the base as the first one did, however it went."""

    def __init__(self, experiment: Experiment, bench: Bench, scorer: Scorer | None) -> None:
        """Checks that the study looks the right way.

        Args:
            experiment: The settings that all jobs have in common.
            bench: Loaded with the same experiment.
            scorer: With the objective's task in it, unless the objective is the loss, and for
                exams the test tasks.

        Raises:
            UserError: See `check_direction`.
        """
        check_direction(experiment, scorer)
        self._experiment, self._bench, self._scorer = experiment, bench, scorer
        self.samples, self.notes = bench.corpus.fingerprint, bench.notes

    def __call__(self, job: Job, report: Report) -> Outcome:
        if torch.cuda.is_available() and job.trained is None:
            torch.cuda.reset_peak_memory_stats()  # the peak of a training counts in its scoring
        try:
            return self._outcome(job, report)
        finally:
            # outside of any except clause, where nothing holds on to a failed training's tensors
            release(self._bench, self._bench.base)

    def examine(self, exam: Exam) -> Examined | OutOfMemory | Failed:
        """Validation loss and test scores of a saved adapter, or of the base."""
        during: Literal["training", "scoring"] = "training"
        try:
            if exam.adapter is not None:
                load_adapter(self._bench, Path(exam.adapter))
            settings = self._settings(exam.micro_batch)
            loss = validate(self._bench, self._bench.base, settings)
            during = "scoring"
            tasks = self._experiment.scoring.test
            scores = [self._on_task(task, exam.scoring_batch) for task in tasks]
            return Examined(
                loss,
                {score.task: (score.value, score.stderr) for score in scores},
                {score.task: score.metric for score in scores},
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return OutOfMemory(during, "out of memory in the final test", peak_memory())
        finally:
            release(self._bench, self._bench.base)

    def _settings(self, micro_batch: int) -> TrainingSettings:
        return self._experiment.training.model_copy(update={"micro_batch": micro_batch})

    def _outcome(self, job: Job, report: Report) -> Outcome:
        try:
            ended = self._train(job, report) if job.trained is None else job.trained
            return self._score(job, ended) if isinstance(ended, Training) else ended
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            where = f"beside a training with micro-batch {job.micro_batch}"  # at a file, for one
            return OutOfMemory("training", f"out of memory {where}", peak_memory())

    def _train(self, job: Job, report: Report) -> Ended:
        """Leaves the adapter on the base, and in its folder."""
        learner = Learner(self._bench, self._settings(job.micro_batch), job.chosen)
        main = self._bench.accelerator.is_main_process
        with tracked(self._experiment.study.tracker, job, main=main) as send:
            for validation in train(learner, self._checkpoint(job, learner)):
                send(validation, learner.losses)
                if report(validation):
                    learner.prune()
                    break
        if isinstance(learner.outcome, Training):
            if main:
                save_adapter(learner.model, Path(job.adapter))
            self._bench.accelerator.wait_for_everyone()  # a rank that fails now ends the others
        return learner.outcome

    def _checkpoint(self, job: Job, learner: Learner) -> Checkpoint | None:
        if job.checkpoint is None:
            return None
        made = made_with(self._bench, learner.settings, job.chosen, self._base)
        return Checkpoint(checkpoint_file(job.checkpoint, job.micro_batch), made)

    @cached_property
    def _base(self) -> str:
        return fingerprint(self._bench.base)

    def _score(self, job: Job, training: Training) -> Finished | OutOfMemory:
        """Of the adapter on the base, or in its folder if somebody else has trained it."""
        task = self._experiment.scoring.objective
        if task == "loss":
            return Finished(training.validation_loss, training, 0.0, None, peak_memory())
        try:
            if job.trained is not None:
                load_adapter(self._bench, Path(job.adapter))
            start = time.perf_counter()
            score = self._on_task(task, job.scoring_batch)
            seconds = time.perf_counter() - start
            return Finished(score.value, training, seconds, score.stderr, peak_memory())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            where = f"in scoring with batch {job.scoring_batch}, after the training"
            return OutOfMemory("scoring", f"out of memory {where}", peak_memory(), training)

    def _on_task(self, task: str, batch: int) -> Score:
        assert self._scorer is not None, "a task needs a scorer"
        settings = self._scorer.settings.model_copy(update={"batch": batch})
        scorer = replace(self._scorer, settings=settings)
        return scorer.score(self._bench.base, task, accelerator=self._bench.accelerator)


def load_runner(
    experiment: Experiment, cache: Path | None = None, *, test: bool = False
) -> Runner:
    """All that jobs need.

    Args:
        experiment: What to load.
        cache: Folder for the tokenised data; None keeps it in memory only.
        test: Whether exams need the test tasks as well.

    Raises:
        UserError: Model, data or task is not there, or does not fit the settings.
    """
    bench = load_bench(experiment, cache=cache)
    return Runner(experiment, bench, load_scorer(experiment, bench.tokenizer, test=test))


def load_scorer(
    experiment: Experiment, tokenizer: PreTrainedTokenizerBase, *, test: bool
) -> Scorer | None:
    """For the objective's task and perhaps the test tasks; None where there are none.

    Raises:
        UserError: A task is not there, or its metric is not.
    """
    scoring = experiment.scoring
    goal = [] if scoring.objective == "loss" else [scoring.objective]
    tasks = list(dict.fromkeys([*goal, *(scoring.test if test else [])]))
    return Scorer.load(scoring, tokenizer, tasks) if tasks else None


def check_direction(experiment: Experiment, scorer: Scorer | None) -> None:
    """Before the first trial: the study must not look for the worst."""
    scoring = experiment.scoring
    if scoring.objective == "loss":
        return
    assert scorer is not None, "a task as objective needs a scorer"
    if scorer.direction(scoring.objective) != experiment.direction:
        raise UserError(
            f"`[scoring] metric` = {scoring.metric!r}: the task {scoring.objective!r} wants it "
            f"{scorer.direction(scoring.objective)}d, the study would {experiment.direction} it; "
            "choose a metric of lm-eval's own, or correct `higher_is_better` in the task"
        )
