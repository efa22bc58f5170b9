"""What a report is given beside a study's trials, as plain values; imports no Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import math


__all__ = ["Belief", "CellBox", "FinalRow", "SampleAnswer", "Told"]


@dataclass(frozen=True)
class Belief:
    """A trial whose value is believed as far as the other trials bear it out.

    Attributes:
        trial: Its number.
        value: As observed; of several trials with the same parameters the mean.
        mean: What is expected of another evaluation.
        low: Lower end of the 95 % interval of that.
        high: Its upper end.
        repeats: How many trials have the same parameters.
    """

    trial: int
    value: float
    mean: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True)
class CellBox:
    """One cell of the partition.

    Attributes:
        low: Parameter -> lower end as a share of the parameter's axis, 0..1; absent: 0.
        high: Parameter -> upper end, likewise; absent: 1.
    """

    low: Mapping[str, float]
    high: Mapping[str, float]


@dataclass(frozen=True)
class FinalRow:
    """One adapter (or the untuned base) in the final test.

    Attributes:
        name: "base", "PEFT defaults", "trial 7".
        value: The study's objective, None when it was not computed.
        validation_loss: Nats per label token.
        scores: Task -> (score, standard error).
        metrics: Task -> what the score is; of old studies it is not known.
    """

    name: str
    value: float | None
    validation_loss: float
    scores: Mapping[str, tuple[float, float]]
    metrics: Mapping[str, str] = field(default_factory=dict)

    def heading(self, task: str) -> str:
        """The task and its metric."""
        return f"{task} {self.metrics.get(task, '')}".rstrip()

    def told(self, task: str, sign: str = "±") -> str:
        """The score with its error, which only a mean over questions has."""
        score, error = self.scores[task]
        return f"{score:.4f} " + (f"{sign} {error:.4f}" if math.isfinite(error) else "(no error)")


@dataclass(frozen=True)
class SampleAnswer:
    """A prompt of the validation and its answers.

    Attributes:
        prompt: All that stands before the answer.
        expected: The row's own.
        base: The untuned base's.
        best: The best adapter's.
    """

    prompt: str
    expected: str
    base: str
    best: str


@dataclass(frozen=True)
class Told:
    """What a report tells beside the trials; what is empty is left out.

    Attributes:
        final: Rows of the final test.
        final_note: How far their scores may be believed.
        beliefs: What a model says of trials, the best first; none: the best value is the best.
        answers: What base and best adapter say to prompts of the validation.
        settings: What a reader should know about the run (base, data, sampler), as name -> text.
        closing: What a reader can do next.
        device: What the trials trained on, whose hours are counted.
    """

    final: Sequence[FinalRow] = ()
    final_note: str = ""
    beliefs: Sequence[Belief] = ()
    answers: Sequence[SampleAnswer] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    closing: str = ""
    device: str = "device"
