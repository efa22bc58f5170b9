"""What one call of the command is to do, as a value; touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from objectives.settings.budget import Budget
from objectives.settings.budget import read_budget
from objectives.settings.config import Experiment
from objectives.settings.engines import EngineSettings
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.sections.study import StudySettings


__all__ = ["LoraPlan", "OwnPlan", "Plan", "database_in"]


def database_in(folder: Path) -> str:
    """The URL of the study in its folder, whatever letters the path has."""
    return URL.create("sqlite", database=str(folder / "study.db")).render_as_string()


@dataclass(frozen=True)
class Plan:
    """What one call of the command is to do.

    Attributes:
        experiment: As the file says it, and the command line over it.
        name: The study's.
        url: The study's storage.
        folder: For adapters and report.
        workers: Processes that search, or None for this one; 0 ends those of an engine.
        engine: Where the workers run; None for this machine.
        search_only: Whether final test and report are another run's.
        one_process_argv: The command of a process that does all of it.
        worker_argv: The command of a process that searches.
        trials: Finished trials wanted; None where a budget alone ends the search.
        until: When the command is to be done, in seconds since the epoch; None knows no time.
        test_follows: Whether a call of the command that must be done in time started this process,
            and makes the final test after it.
        is_closing_job: Whether this process follows a search, and begins none anew.
    """

    experiment: Experiment | OwnExperiment
    name: str
    url: str
    folder: Path
    workers: int | None
    engine: EngineSettings | None
    search_only: bool
    one_process_argv: tuple[str, ...]
    worker_argv: tuple[str, ...]
    trials: int | None
    until: float | None
    test_follows: bool
    is_closing_job: bool

    @property
    def budget(self) -> Budget | None:
        """How long the search may take, if there is a limit to it."""
        return None if self.settings.budget is None else read_budget(self.settings.budget)

    @property
    def settings(self) -> StudySettings:
        """Of the study."""
        return self.experiment.study

    @property
    def ranks(self) -> int | None:
        """Processes that train a trial together; None for the one that asks for trials."""
        alone = self.settings.time_limit is None and self.settings.warm
        return self.settings.gpus_per_trial or (None if alone else 1)

    @property
    def cache(self) -> Path:
        """Of the tokenised data."""
        return Path(self.settings.output) / "cache"


@dataclass(frozen=True)
class LoraPlan(Plan):
    """A fine-tuning of this project's own.

    Attributes:
        proxy: What is searched first, where there is something.
    """

    experiment: Experiment
    proxy: LoraPlan | None = None


@dataclass(frozen=True)
class OwnPlan(Plan):
    """A trainer of the user's own.

    Attributes:
        home: Where it runs, the experiment file's folder.
    """

    experiment: OwnExperiment
    home: Path
