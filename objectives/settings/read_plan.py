"""The command's arguments and the experiment file -> a plan, or what is wrong; touches nothing."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
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
from objectives.settings.arguments import one_process_arguments
from objectives.settings.arguments import read_arguments
from objectives.settings.budget import read_budget
from objectives.settings.combinations import check_combinations
from objectives.settings.config import checked
from objectives.settings.config import Experiment
from objectives.settings.config import lora_experiment
from objectives.settings.config import read_toml
from objectives.settings.config_errors import describe_option
from objectives.settings.engines import read_engine
from objectives.settings.own.experiment import check_own
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.plan import database_in
from objectives.settings.plan import LoraPlan
from objectives.settings.plan import OwnPlan
from objectives.settings.proxy import with_proxy
from objectives.settings.proxy import with_share
from objectives.settings.sections.scoring import IN_TRAINING
from objectives.settings.sections.study import StudySettings


__all__ = ["read_plan"]


def read_plan(
    arguments: Sequence[str] | None, samplers: Collection[str], pruners: Collection[str]
) -> LoraPlan | OwnPlan:
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
    experiment = _experiment(parsed.file)
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
    _check_name(settings.name, "--study" if "name" in given else "`[study] name` =")
    engine = read_engine(parsed, settings)
    _check_workers(parsed.workers, parsed.search_only, least=1 if engine is None else 0)
    name = settings.name or parsed.file.stem
    folder = Path(settings.output) / name
    one_process = (sys.executable, "-m", "objectives.tune", *one_process_arguments(parsed))
    common: dict[str, Any] = dict(
        name=name,
        url=settings.storage or database_in(folder),
        folder=folder,
        workers=parsed.workers,
        engine=engine,
        search_only=parsed.search_only,
        one_process_argv=one_process,
        worker_argv=(*one_process, "--search-only"),
        trials=_trials(settings, given),
        until=_until(settings, now, parsed.until),
        test_follows=parsed.until is not None,
        is_closing_job=parsed.last,
    )
    whole = {"study": settings}
    _check_previous(settings)
    if isinstance(experiment, OwnExperiment):
        _check_no_proxy(parsed.proxy)
        check_own(settings, experiment, given)
        home = parsed.file.resolve().parent
        return OwnPlan(experiment=experiment.model_copy(update=whole), home=home, **common)
    check_combinations(experiment, settings)
    _check_launcher(settings, parsed.workers)
    _check_pruner(settings, experiment)
    experiment = with_share(experiment, parsed.proxy).model_copy(update=whole)
    return with_proxy(LoraPlan(experiment=experiment, **common), of_proxy=parsed.of_proxy)


def _experiment(path: Path) -> Experiment | OwnExperiment:
    """By its sections: a trainer of the user's own is a `[command]`."""
    raw = read_toml(path)
    if "command" not in raw:
        return lora_experiment(raw, path.resolve().parent, str(path))
    for section in Experiment.model_fields.keys() - OwnExperiment.model_fields.keys() & raw.keys():
        raise UserError(
            f"{path}: 1 problem\n  [{section}]: is of this project's own training, and [command] "
            "runs another; leave one of the two out"
        )
    return checked(OwnExperiment, raw, path.resolve().parent, str(path))


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


def _check_name(name: str | None, told: str) -> None:
    """Refuses a name that can be no folder's; `told` is how it was given."""
    if name is None:
        return
    otherwise = "give another, or leave it out for the file's name"
    if not name.isprintable():
        raise UserError(
            f"{told} {name!r}: holds a control character, such as a line's end; {otherwise}"
        )
    if len(os.fsencode(name)) > LONGEST:
        raise UserError(
            f"{told} {name[:20]}...: is a folder in --output and must not be longer than "
            f"{LONGEST} bytes; shorten it"
        )
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(
            f"{told} '{name}': must be a name and no path, as it is a folder in --output; "
            f"{otherwise}"
        )


def _check_output(folder: str) -> None:
    _check_filled("--output", folder, "a folder", "runs/")
    if "\0" in folder:
        raise UserError(f"--output {folder!r}: holds a NUL, which no path can; give another")


def _check_workers(workers: int | None, search_only: bool, least: int) -> None:
    if workers is not None and workers < least:
        raise UserError(f"--workers {workers}: must be >= {least}; for example --workers 2")
    if workers is not None and search_only:
        raise UserError(
            "--workers with --search-only: a worker starts no workers; leave one of them out"
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


def _check_previous(settings: StudySettings) -> None:
    if settings.previous and settings.sampler != "bamsoo":
        raise UserError(
            f"--previous {settings.previous[0]}: bamsoo learns from earlier studies, and the "
            f"sampler is {settings.sampler}; take --sampler bamsoo, or leave --previous out"
        )


def _check_no_proxy(share: float | None) -> None:
    if share is not None:
        raise UserError(
            f"--proxy {share:g}: takes a share of the rows, and what a [command] learns from it "
            "knows itself; search a small one by its own file, and give that as --previous"
        )


def _check_pruner(settings: StudySettings, experiment: Experiment) -> None:
    scoring = experiment.scoring
    if settings.pruner != "none" and scoring.objective not in IN_TRAINING:
        raise UserError(
            f"--pruner {settings.pruner}: goes by the validation loss, and the objective is "
            f"{', '.join(scoring.goals)}, known at the end only; set `[scoring] objective` = "
            '"loss", or leave --pruner out'
        )
