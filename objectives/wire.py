"""What a gang and its ranks say to each other over a pipe, beside jobs and outcomes; no torch.

    gang   Setup          Job                      Answer ... (to all)            Exam
    rank          Ready       Validation (rank 0)             Outcome                  Examined

Python pickles floats as they are: a rank gets every bit of a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from objectives.config import Experiment


__all__ = ["Answer", "Mistake", "Raised", "Ready", "Setup"]


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
    """Everything is loaded."""


@dataclass(frozen=True)
class Mistake:
    """A `UserError` while loading: the user can mend it."""

    message: str


@dataclass(frozen=True)
class Raised:
    """The rank ends with an exception that it does not know."""

    message: str


@dataclass(frozen=True)
class Answer:
    """To a validation loss: whether the training ends here."""

    stop: bool
