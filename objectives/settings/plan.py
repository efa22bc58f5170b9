"""The command's arguments and the experiment file -> what is to be done; touches nothing."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import shlex
import sys
import time
from typing import Any

from pydantic import ValidationError

from objectives.errors import UserError
from objectives.output import LONGEST
from objectives.settings.arguments import check_choice
from objectives.settings.arguments import read_arguments
from objectives.settings.arguments import worker_arguments
from objectives.settings.budget import Budget
from objectives.settings.budget import read_budget
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.config_errors import describe_option
from objectives.settings.sections import StudySettings


__all__ = ["Plan", "read_plan"]


@dataclass(frozen=True)
class Plan:
    """What one call of the command is to do.

    Attributes:
        experiment: As the file says it, and the command line over it.
        name: The study's.
        url: The study's storage.
        folder: For adapters and report.
        workers: Processes that search, or None for this one.
        search_only: Whether final test and report are another run's.
        worker: The command of a process that searches.
        trials: Finished trials wanted; None where a budget alone ends the search.
        until: When the command is to be done, in seconds since the epoch; None knows no time.
        of_command: Whether this is a worker that a command has started, which then makes the
            final test.
    """

    experiment: Experiment
    name: str
    url: str
    folder: Path
    workers: int | None
    search_only: bool
    worker: tuple[str, ...]
    trials: int | None
    until: float | None
    of_command: bool

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

    @property
    def unit(self) -> str:
        """What a trial's value is."""
        scoring = self.experiment.scoring
        return "loss" if scoring.objective == "loss" else scoring.metric


def read_plan(
    arguments: Sequence[str] | None, samplers: Collection[str], pruners: Collection[str]
) -> Plan:
    """Reads the arguments and the file they name.

    Args:
        arguments: By default those of this process.
        samplers: Names to choose from.
        pruners: Names to choose from.

    Raises:
        UserError: One of them says what cannot be done.
    """
    now = time.time()
    parsed = read_arguments(arguments, samplers, pruners)
    experiment = load_experiment(parsed.file)
    given = {
        name: value
        for name in StudySettings.model_fields
        if (value := getattr(parsed, name, None)) is not None
    }
    check_choice("--sampler", given.get("sampler", experiment.study.sampler), samplers)
    check_choice("--pruner", given.get("pruner", experiment.study.pruner), pruners)
    _check_filled("--storage", given.get("storage"), "a URL", "SQLite in --output")
    _check_output(given.get("output", experiment.study.output))
    settings = _over(experiment.study, given)
    _check_name(settings.name)
    _check_workers(parsed.workers, parsed.search_only)
    _check_pack(settings, experiment)
    _check_sharded(settings, experiment)
    _check_launcher(settings, parsed.workers)
    _check_pruner(settings, experiment)
    name = settings.name or parsed.file.stem
    folder = Path(settings.output) / name
    return Plan(
        experiment=Experiment(**{**dict(experiment), "study": settings}),
        name=name,
        url=settings.storage or f"sqlite:///{folder / 'study.db'}",
        folder=folder,
        workers=parsed.workers,
        search_only=parsed.search_only,
        worker=(sys.executable, "-m", "objectives.tune", *worker_arguments(parsed)),
        trials=_trials(settings, given),
        until=_until(settings, now, parsed.until),
        of_command=parsed.until is not None,
    )


def _trials(settings: StudySettings, given: Mapping[str, Any]) -> int | None:
    """A budget on the command line sets the file's number of trials aside."""
    said = given if "budget" in given else settings.model_fields_set
    return settings.trials if settings.budget is None or "trials" in said else None


def _until(settings: StudySettings, now: float, given: float | None) -> float | None:
    budget = None if settings.budget is None else read_budget(settings.budget)
    if budget is None or budget.seconds is None:
        return None
    return now + budget.seconds if given is None else given


def _over(settings: StudySettings, given: dict[str, Any]) -> StudySettings:
    """The file's settings with the command line's over them, checked as the file's are."""
    try:
        said = {name: getattr(settings, name) for name in settings.model_fields_set}
        return StudySettings(**{**said, **given})
    except ValidationError as error:
        raise UserError(describe_option(error, StudySettings)) from None


def _check_filled(option: str, value: str | None, what: str, otherwise: str) -> None:
    if value == "":
        raise UserError(
            f"{option} '': is empty, as a variable that is not set; give {what}, or leave "
            f"{option} out for {otherwise}"
        )


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if not name.isprintable():
        raise UserError(
            f"--study {name!r}: holds a control character, such as a line's end; "
            "give another, or leave --study out for the file's name"
        )
    if len(os.fsencode(name)) > LONGEST:
        raise UserError(
            f"--study {name[:20]}...: is a folder in --output and must not be longer than "
            f"{LONGEST} bytes; shorten it"
        )
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(
            f"--study '{name}': must be a name and no path, as it is a folder in --output; "
            "give another, or leave --study out for the file's name"
        )


def _check_output(folder: str) -> None:
    _check_filled("--output", folder, "a folder", "runs/")
    if "\0" in folder:
        raise UserError(f"--output {folder!r}: holds a NUL, which no path can; give another")


def _check_workers(workers: int | None, search_only: bool) -> None:
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be >= 1; for example --workers 2")
    if workers is not None and search_only:
        raise UserError(
            "--workers with --search-only: a worker starts no workers; leave one of them out"
        )


def _check_pack(settings: StudySettings, experiment: Experiment) -> None:
    if settings.pack is None:
        return
    if settings.gpus_per_trial is not None or settings.time_limit is not None or not settings.warm:
        raise UserError(
            f"--pack {settings.pack}: a pack is trained in the worker itself; leave "
            "--gpus-per-trial, --time-limit and --cold out (--workers is fine)"
        )
    if settings.tracker is not None:
        raise UserError(f"--pack {settings.pack}: a tracker follows one trial; leave tracker out")
    if _may_be_dora(experiment):
        raise UserError(
            f"--pack {settings.pack}: DoRA adapters cannot be packed; "
            "set dora = false, or leave --pack out"
        )


def _check_sharded(settings: StudySettings, experiment: Experiment) -> None:
    if not experiment.model.sharded:
        return
    if (settings.gpus_per_trial or 1) == 1:
        raise UserError(
            "`[model] sharded` = true: the base is shared out among a trial's GPUs; "
            "give --gpus-per-trial 2 or more, or set sharded = false"
        )
    if experiment.model.quantization is not None or _may_be_dora(experiment):
        raise UserError(
            "`[model] sharded` = true: a base in 4 bits and DoRA adapters need whole weights; "
            "leave quantization and dora out, or set sharded = false"
        )


def _check_launcher(settings: StudySettings, workers: int | None) -> None:
    if settings.launcher is None:
        return
    try:
        words = shlex.split(settings.launcher)
    except ValueError as error:
        raise UserError(
            f"--launcher '{settings.launcher}': cannot be split into words ({error}); "
            "give each quotation mark its partner"
        ) from None
    if not words:
        raise UserError("--launcher '': is empty; give a command, for example 'accelerate launch'")
    if settings.gpus_per_trial is None:
        raise UserError(
            f"--launcher '{settings.launcher}': starts the processes of a trial; say with "
            "--gpus-per-trial how many that are, on all machines together"
        )
    if workers is not None:
        raise UserError(
            f"--launcher '{settings.launcher}': --workers {workers} would launch {workers} times "
            "on the same machines; run the command once for each group of machines"
        )


def _check_pruner(settings: StudySettings, experiment: Experiment) -> None:
    objective = experiment.scoring.objective
    if settings.pruner != "none" and objective != "loss":
        raise UserError(
            f"--pruner {settings.pruner}: goes by the validation loss, and the objective is "
            f'{objective}, known at the end only; set `[scoring] objective` = "loss", or leave '
            "--pruner out"
        )


def _may_be_dora(experiment: Experiment) -> bool:
    searched = experiment.search.dora
    return experiment.training.dora or (searched is not None and True in searched.choices)
