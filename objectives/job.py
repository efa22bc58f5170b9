"""What a trial asks of whoever trains it, what comes back, and what is tried again; no torch.

A `Trainer` takes jobs, exams and questions: `training.runner.Runner` in this process, or
`gang.supervisor.Gang` in others. Where jobs are all, any `Run` will do.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import logging
from typing import Literal
from typing import Protocol
from typing import TypeAlias
from typing import TypeVar

from objectives.settings.search.space import Hyperparameters


__all__ = [
    "Answered",
    "Ended",
    "Exam",
    "Examined",
    "Failed",
    "Finished",
    "Job",
    "Join",
    "OutOfMemory",
    "Outcome",
    "Pruned",
    "Questions",
    "Report",
    "Run",
    "RunPack",
    "Trainer",
    "Training",
    "Validation",
    "until_it_fits",
]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """A validation loss on the way.

    Attributes:
        step: After that many optimizer steps.
        part: How many `[training] validations`-ths of the training are done.
        loss: Nats per label token; of preferences the mean of their loss.
        n_steps: Of the training to its end.
        accuracy: Share of the preferences that are right; None where there are none.
    """

    step: int
    part: int
    loss: float
    n_steps: int
    accuracy: float | None = None


@dataclass(frozen=True)
class Training:
    """A training in numbers, done to its end.

    Attributes:
        validation_loss: At the end, as `Validation.loss`.
        tokens: Tokens read, padding left out.
        seconds_setup: Until the first step.
        seconds_training: The steps from there and their validations.
        resumed_at: Steps that an earlier, interrupted training had done; 0 from zero.
        accuracy: At the end, as `Validation.accuracy`.
        seconds_before: The earlier training's steps and validations.
    """

    validation_loss: float
    tokens: int
    seconds_setup: float
    seconds_training: float
    resumed_at: int = 0
    accuracy: float | None = None
    seconds_before: float = 0.0


@dataclass(frozen=True)
class Job:
    """One trial's work.

    Attributes:
        trial: The trial's number; None for a training that is no trial's.
        chosen: The trial's hyperparameters.
        adapter: Folder the adapter goes to, before it is scored.
        micro_batch: Samples per forward in training and validation.
        scoring_batch: Sequences per forward on a task.
        checkpoint_stem: What the file begins with that keeps the training on its way, and perhaps
            an earlier one to go on from; see `objectives.training.checkpoint_files`. None keeps
            none.
        trained: If it is trained already, and `adapter` is to be scored.
        gradient_checkpointing: As `[training]` has it; "auto" is off until nothing else helps.
    """

    trial: int | None
    chosen: Hyperparameters
    adapter: str
    micro_batch: int
    scoring_batch: int
    checkpoint_stem: str | None = None
    trained: Training | None = None
    gradient_checkpointing: bool | Literal["auto"] = False


@dataclass(frozen=True)
class Exam:
    """One model's part of the final test.

    Attributes:
        adapter: Folder of a trained adapter; None is for the base as it is.
        micro_batch: Samples per forward for the validation loss.
        scoring_batch: Sequences per forward on a task.
    """

    adapter: str | None
    micro_batch: int
    scoring_batch: int


@dataclass(frozen=True)
class Examined:
    """What an exam found.

    Attributes:
        validation_loss: As `Validation.loss`.
        scores: Test task -> (score, standard error).
        metrics: Test task -> what the score is.
    """

    validation_loss: float
    scores: Mapping[str, tuple[float, float]]
    metrics: Mapping[str, str]


@dataclass(frozen=True)
class Questions:
    """A few prompts of the validation, to be answered.

    Attributes:
        adapter: Folder of a trained adapter; None is for the base as it is.
        count: How many.
    """

    adapter: str | None
    count: int


@dataclass(frozen=True)
class Answered:
    """A prompt with what a model said, and what the row says.

    Attributes:
        prompt: All that stands before the answer.
        expected: The row's answer.
        said: The model's.
    """

    prompt: str
    expected: str
    said: str


@dataclass(frozen=True)
class Finished:
    """The adapter is saved and has a value.

    Attributes:
        value: What the trial is worth.
        training: How the training went.
        seconds_scoring: Scoring.
        stderr: Standard error of a score; None where the value is the validation loss.
        peak_memory: Bytes, see `objectives.model.memory.peak_memory`.
        scores: Task -> (score, standard error), where the value is the mean of several.
    """

    value: float
    training: Training
    seconds_scoring: float
    stderr: float | None
    peak_memory: int
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pruned:
    """The training ended where the report said so.

    Attributes:
        seconds: Until then, set-up included.
        resumed_at: Steps that an earlier, interrupted training had done; 0 from zero.
    """

    seconds: float
    resumed_at: int = 0


@dataclass(frozen=True)
class OutOfMemory:
    """Smaller batches may help.

    Attributes:
        during: Which batch was too large.
        message: Where it happened and with what.
        peak_memory: Bytes, see `objectives.model.memory.peak_memory`.
        trained: The training, if that went well.
    """

    during: Literal["training", "scoring"]
    message: str
    peak_memory: int
    trained: Training | None = None


@dataclass(frozen=True)
class Failed:
    """No value, for a reason that another try would meet again or that must not stop the study."""

    message: str


Report: TypeAlias = Callable[[Validation], bool]
"""Whether the training is to end here."""
Ended: TypeAlias = Training | Pruned | OutOfMemory | Failed
"""How a training ended."""
Outcome: TypeAlias = Finished | Pruned | OutOfMemory | Failed
Run: TypeAlias = Callable[[Job, Report], Outcome]
"""Of a `Trainer`, the call."""


class Trainer(Protocol):
    """Runs jobs, examines what came of them and has it answer prompts."""

    def __call__(self, job: Job, report: Report, /) -> Outcome: ...

    def examine(self, exam: Exam, /) -> Examined | OutOfMemory | Failed: ...

    def ask(self, questions: Questions, /) -> list[Answered] | Failed: ...


Join: TypeAlias = Callable[[int], Sequence[tuple[Job, Report]]]
"""Given how many train together now, none at first: who joins them."""
RunPack: TypeAlias = Callable[[Join], Iterator[tuple[Job, Ended]]]
"""Trains jobs together until none is left, each with its own end; whoever joins takes a place that
has become free. A `Training` is still to be scored, as a job that is `trained`."""

Work = TypeVar("Work", Job, Exam)
Result = TypeVar("Result")


def until_it_fits(name: str, work: Work, attempt: Callable[[Work], Result]) -> tuple[Work, Result]:
    """The last attempt, with batches that fit or cannot be smaller.

    A batch is halved first: that changes the time of a sample little, where gradient checkpointing
    makes a training half as long again, since the base is frozen and a backward pass costs no more
    than the forward pass that is made twice. Where one sample does not fit, activations are
    computed twice ("auto"), with the batch to begin with, since they are few then.

    Args:
        name: Whose work it is, for the warning about each attempt that did not fit.
        work: With the batches to begin with.
        attempt: Does it; `OutOfMemory` says which of the batches was too large.
    """
    first, result = work, attempt(work)
    while isinstance(result, OutOfMemory):
        smaller, how = _smaller(work, first, result)
        if smaller == work:
            break
        _logger.warning("%s: %s; tried with %s", name, result.message, how)
        work = smaller
        result = attempt(work)
    return work, result


def _smaller(work: Work, first: Work, outcome: OutOfMemory) -> tuple[Work, str]:
    """With half the batch that was too large, or as it is; in words."""
    if outcome.during == "training":
        if (
            work.micro_batch == 1
            and isinstance(work, Job)
            and work.gradient_checkpointing == "auto"
        ):
            again = replace(work, gradient_checkpointing=True, micro_batch=first.micro_batch)
            return again, "gradient checkpointing"
        return replace(work, micro_batch=max(1, work.micro_batch // 2)), "half of it"
    if work.scoring_batch == 1:
        return work, ""
    half = replace(work, scoring_batch=work.scoring_batch // 2)
    half = replace(half, trained=outcome.trained) if isinstance(half, Job) else half
    return half, "half of it"
