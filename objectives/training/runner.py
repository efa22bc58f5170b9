"""Runs jobs and exams on a bench: trains, saves, scores; knows no Optuna and no process.

In a gang every rank runs the same job at the same time on a bench of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from functools import partial
import math
from pathlib import Path
import time
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from objectives.errors import UserError
from objectives.job import Answered
from objectives.job import Ended
from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import OutOfMemory
from objectives.job import Questions
from objectives.job import Report
from objectives.job import Training
from objectives.model.answers import answer
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.model.memory import DeviceFull
from objectives.model.memory import peak_memory
from objectives.model.memory import raising_device_full
from objectives.model.sharded import is_sharded
from objectives.scoring.criterion import criterion
from objectives.scoring.function import NoScore
from objectives.scoring.preference import with_references
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import Direction
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint import checkpoint_of
from objectives.training.checkpoint import fingerprint
from objectives.training.learner import Learner
from objectives.training.loop import train
from objectives.training.loop import validate
from objectives.training.tracking import tracked


__all__ = ["Runner", "direction_of", "load_runner", "load_scorer"]


ANSWER_TOKENS = 64


class Runner:
    """Job after job on one bench: each finds the base as the first one did, however it went."""

    def __init__(self, experiment: Experiment, bench: Bench, scorer: Scorer | None) -> None:
        """Checks that the study looks the right way.

        Args:
            experiment: The settings that all jobs have in common.
            bench: Loaded with the same experiment.
            scorer: With the objective's tasks in it, unless the objective is the loss, and for
                exams the test tasks.

        Raises:
            UserError: See `direction_of`.
        """
        self.direction = direction_of(experiment, scorer)
        self._experiment, self._scorer = experiment, scorer
        self._bench = _informed(bench, experiment)
        self.samples_fingerprint, self.notes = bench.corpus.fingerprint, bench.notes

    @property
    def bench(self) -> Bench:
        """Its base and data; of preferences with the base's word on each."""
        return self._bench

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
            with raising_device_full():
                if exam.adapter is not None:
                    load_adapter(self._bench, Path(exam.adapter))
                settings = self._settings(exam.micro_batch)
                found = validate(self._bench, self._bench.base, settings, criterion(settings))
                during = "scoring"
                tasks = self._experiment.scoring.test
                scores = [self._on_task(task, exam.scoring_batch) for task in tasks]
            return Examined(
                found.loss,
                {score.task: (score.value, score.stderr) for score in scores},
                {score.task: score.metric for score in scores},
            )
        except NoScore as error:
            return Failed(str(error))
        except DeviceFull:
            return OutOfMemory(during, "out of memory in the final test", peak_memory())
        finally:
            release(self._bench, self._bench.base)

    def ask(self, questions: Questions) -> list[Answered] | Failed:
        """What a saved adapter, or the base, answers to prompts of the validation."""
        try:
            with raising_device_full():
                return self._answered(questions)
        except DeviceFull:
            return Failed("out of memory while answering")
        finally:
            release(self._bench, self._bench.base)

    def _answered(self, questions: Questions) -> list[Answered]:
        if questions.adapter is not None:
            load_adapter(self._bench, Path(questions.adapter))
        corpus, tokenizer = self._bench.corpus, self._bench.tokenizer
        read = partial(tokenizer.decode, skip_special_tokens=True)
        return [
            Answered(
                read(each.prompt),
                read(each.answer).strip(),
                answer(self._bench.base, tokenizer, each.prompt, ANSWER_TOKENS, corpus.end),
            )
            for each in corpus.asked[: questions.count]
        ]

    def _settings(self, micro_batch: int) -> TrainingSettings:
        return self._experiment.training.model_copy(update={"micro_batch": micro_batch})

    def _outcome(self, job: Job, report: Report) -> Outcome:
        try:
            with raising_device_full():
                ended = self._train(job, report) if job.trained is None else job.trained
                return self._score(job, ended) if isinstance(ended, Training) else ended
        except DeviceFull:
            # outside the steps: where the adapter is saved, for one
            where = f"beside a training with micro-batch {job.micro_batch}"
            return OutOfMemory("training", f"out of memory {where}", peak_memory())

    def _train(self, job: Job, report: Report) -> Ended:
        """Leaves the adapter on the base, and in its folder."""
        settings = self._settings(job.micro_batch).model_copy(
            update={"gradient_checkpointing": job.gradient_checkpointing}
        )
        learner = Learner(self._bench, settings, job.chosen)
        checkpoint = checkpoint_of(self._bench, settings, job, lambda: self._base_fingerprint)
        main = self._bench.accelerator.is_main_process
        with tracked(self._experiment.study.tracker, job, main=main) as send:
            for validation in train(learner, checkpoint):
                send(validation, learner.losses)
                if report(validation):
                    learner.prune()
                    break
        if isinstance(learner.ended, Training):
            if main:
                save_adapter(learner.model, Path(job.adapter))
            self._bench.accelerator.wait_for_everyone()  # a rank that fails now ends the others
        return learner.ended

    @cached_property
    def _base_fingerprint(self) -> str:
        return fingerprint(self._bench.base)

    def _score(self, job: Job, training: Training) -> Finished | OutOfMemory | Failed:
        """Of the adapter on the base, or in its folder if somebody else has trained it."""
        if not self._experiment.scoring.goals:
            value, stderr = self._measured(training)
            return Finished(value, training, 0.0, stderr, peak_memory())
        assert self._scorer is not None, "a task needs a scorer"
        batch = job.scoring_batch
        try:
            with raising_device_full():
                if job.trained is not None:
                    load_adapter(self._bench, Path(job.adapter))
                start = time.perf_counter()
                score, each = self._scorer.goals(lambda goal: self._on_task(goal, batch))
                seconds = time.perf_counter() - start
            scores = {s.task: (s.value, s.stderr) for s in each} if len(each) > 1 else {}
            return Finished(score.value, training, seconds, score.stderr, peak_memory(), scores)
        except NoScore as error:
            return Failed(str(error))
        except DeviceFull:
            where = f"in scoring with batch {batch}, after the training"
            return OutOfMemory("scoring", f"out of memory {where}", peak_memory(), training)

    def _measured(self, training: Training) -> tuple[float, float | None]:
        """The value, and its standard error, where the validation has it."""
        if self._experiment.scoring.objective == "loss":
            return training.validation_loss, None
        assert training.accuracy is not None, "preferences have one"
        share, n = training.accuracy, len(self._bench.corpus.validation)
        return share, math.sqrt(share * (1 - share) / n)

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
    tasks = list(dict.fromkeys([*scoring.goals, *(scoring.test if test else [])]))
    return Scorer.load(scoring, tokenizer, tasks) if tasks else None


def _informed(bench: Bench, experiment: Experiment) -> Bench:
    """With the base's word on every preference: all trials start from it."""
    if experiment.training.method == "sft":
        return bench
    size = experiment.training.micro_batch
    while True:
        try:
            corpus = with_references(
                bench.corpus, bench.base, micro_batch=size, accelerator=bench.accelerator
            )
            return replace(bench, corpus=corpus)
        except DeviceFull:
            if size == 1 or is_sharded(bench.base):
                raise UserError(_too_long(experiment, size)) from None
        size //= 2


def _too_long(experiment: Experiment, size: int) -> str:
    fewer = f"`[training] micro_batch` = {size // 2}" if size > 1 else "take a smaller base"
    return (
        f"`[data] max_length` = {experiment.data.max_length}: memory runs out where the base "
        f"reads the preferences, {size} at a time; set a smaller max_length, or {fewer}"
    )


def direction_of(experiment: Experiment, scorer: Scorer | None) -> Direction:
    """Optuna's direction of the objective, before the first trial.

    Raises:
        UserError: Nobody says which way is better, or not all say the same.
    """
    scoring = experiment.scoring
    if scorer is None or not (goals := scorer.tasks.keys() & scoring.goals.keys()):
        assert scoring.known_direction is not None, "the settings have checked it"
        return scoring.known_direction
    ways = {goal: scorer.direction(goal) for goal in sorted(goals)}
    if len(set(ways.values())) > 1:
        told = ", ".join(
            f"{way} {scoring.metric_of(goal)} on {goal}" for goal, way in ways.items()
        )
        raise UserError(
            f"`[scoring] objective`: a mean has one direction, and its tasks are to {told}; "
            "take tasks, or a `metric` of each, that go the same way"
        )
    return next(iter(ways.values()))
