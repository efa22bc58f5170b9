"""What a gang and its ranks say to each other over a pipe, beside jobs and outcomes; no torch.

    gang          Setup         Job                     Answer ... (to all)              (None)
    rank  (Hello)        Ready      Validation (rank 0)            Outcome

An Answer is a bool, whether the training ends after that validation. To an Exam the answer is
Examined, to Questions it is a list of Answered. Only a rank that was launched says Hello, and is
told None at its end; a gang's own are killed. Python pickles floats as they are: a rank gets every
bit of a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import Direction


__all__ = ["KEY", "Hello", "Mistake", "Raised", "Ready", "Setup"]

KEY = "GANG_KEY"
"""Environment variable of a launched rank: what proves that it is the gang's."""


@dataclass(frozen=True)
class Hello:
    """A launched rank has found its gang.

    Attributes:
        rank: Its number.
        ranks: How many the launcher starts.
        machine: Its host.
    """

    rank: int
    ranks: int
    machine: str


@dataclass(frozen=True)
class Setup:
    """What to load.

    Attributes:
        experiment: Its settings.
        cache: Folder of the tokenised data.
        rank: The one that is told; rank 0 reports validation losses.
        test: Whether there will be exams.
    """

    experiment: Experiment
    cache: Path | None
    rank: int
    test: bool


@dataclass(frozen=True)
class Ready:
    """Everything is loaded.

    Attributes:
        samples_fingerprint: Of the corpus.
        notes: What the user should know before the first training, a line each.
        direction: Of the objective.
    """

    samples_fingerprint: str
    notes: tuple[str, ...]
    direction: Direction


@dataclass(frozen=True)
class Mistake:
    """The rank ends with a `UserError`: the user can mend it."""

    message: str


@dataclass(frozen=True)
class Raised:
    """The rank ends with an exception that it does not know."""

    message: str
