"""The study of a plan: opened or continued in its storage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
import re
from typing import Any

import optuna
from optuna.trial import TrialState

from objectives.errors import UserError
from objectives.output import check_writable
from objectives.output import writing
from objectives.owner import check_owner
from objectives.owner import keep_owner
from objectives.settings.comparable import check_comparable
from objectives.settings.comparable import check_direction
from objectives.settings.comparable import keep_experiment
from objectives.settings.plan import database_in
from objectives.settings.plan import OwnPlan
from objectives.settings.plan import Plan
from objectives.settings.proxy import proxy_name
from objectives.settings.sections.scoring import Direction
from objectives.tune.energy import check_can_measure
from objectives.tune.limits import Limits
from objectives.tune.progress import finished
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import sampler_of
import storage


__all__ = [
    "begin_anew_if_all_failed",
    "check_plan",
    "existing_study",
    "has_work",
    "open_study",
    "study_in",
    "tell_end",
    "tell_finished",
    "tell_over",
]


def existing_study(plan: Plan) -> optuna.Study | None:
    """The plan's study, if it is there."""
    if plan.settings.storage is None and not plan.folder.is_dir():
        return None  # a storage takes no file where there is no folder
    return _load_by_name(plan.name, plan.url)


def check_plan(plan: Plan) -> None:
    """All that can be checked before anything is loaded; tells of ranges that have changed.

    Raises:
        UserError: The plan cannot be done.
    """
    check_writable(plan.folder)
    if plan.workers is not None and storage.private(plan.url):
        raise UserError(
            f"--workers {plan.workers}: {plan.url} is in the memory of one process; "
            "take a file, for example --storage sqlite:///study.db"
        )
    study = existing_study(plan)
    if study is None:
        _check_former_place(plan)
    check_owner(plan.folder, _storage(plan), study, partial(_attributes, plan.url))
    if study is not None and not _begins_anew(plan, study):
        for line in check_comparable(study, plan.experiment, storage.shown(plan.url)):
            print(line, flush=True)
    _earlier_studies(plan)  # whether they are there
    if plan.settings.energy:
        check_can_measure(plan.settings.country)


def _check_former_place(plan: Plan) -> None:
    """Where a path with a ? or a % once led, which it now has as any other letter."""
    former = f"sqlite:///{plan.folder / 'study.db'}"
    if plan.url != database_in(plan.folder):
        return
    with suppress(storage.StorageError):  # no study can be there
        if _load_by_name(plan.name, former) is not None:
            raise UserError(
                f"--study {plan.name}: is in {storage.shown(former)}, where its folder's name "
                f"once led; copy that file to {plan.folder / 'study.db'}, and it goes on"
            )


def begin_anew_if_all_failed(plan: OwnPlan) -> None:
    """Puts a new study in the place of one whose trials have all failed, and says so.

    Such a study holds no value that others would have to compare with. It goes once it wants no
    more trials, as where they have failed alike, or the experiment is another. What somebody has
    asked for waits in the new one as well.
    """
    study = existing_study(plan)
    if study is None or not _begins_anew(plan, study):
        return
    print(f"study {plan.name}: all of its trials have failed; it begins anew", flush=True)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    optuna.delete_study(study_name=plan.name, storage=storage.open(plan.url))
    anew = optuna.create_study(
        study_name=plan.name,
        storage=storage.open(plan.url),
        direction=plan.experiment.direction,
    )
    for trial in waiting:  # of its earlier attempts the new one has none
        anew.enqueue_trial(trial.system_attrs.get("fixed_params", trial.params), trial.user_attrs)


def _begins_anew(plan: Plan, study: optuna.Study) -> bool:
    if not isinstance(plan, OwnPlan) or plan.search_only or plan.is_closing_job:
        return False
    states = {trial.state for trial in study.get_trials(deepcopy=False)} - {TrialState.WAITING}
    if states != {TrialState.FAIL}:
        return False
    if Limits(plan, study).is_over(finished(study)):
        return True
    try:
        check_comparable(study, plan.experiment, storage.shown(plan.url))
    except UserError:
        return True
    return False


def has_work(plan: Plan) -> bool:
    """Whether this process is needed: for more trials, or for what follows the search.

    A worker that comes late loads nothing.
    """
    study = existing_study(plan) if plan.search_only else None
    return study is None or Limits(plan, study).wanted(finished(study)) > 0


def study_in(name: str, url: str) -> optuna.Study:
    """The study of that name, which is only read.

    Raises:
        UserError: It is not there.
    """
    try:
        study = _load_by_name(name, url)
    except storage.StorageError as error:
        raise UserError(str(error)) from None
    if study is None:
        raise UserError(
            f"{name}: there is no study of that name in {storage.shown(url)}; it has {_names(url)}"
        )
    return study


def _attributes(url: str) -> dict[str, dict[str, Any]]:
    """Those of all studies there, by their names."""
    if not storage.exists(url):
        return {}
    found = optuna.get_all_study_summaries(storage.open(url), include_best_trial=False)
    return {study.study_name: study.user_attrs for study in found}


def _storage(plan: Plan) -> str:
    """For people; the one in the study's folder moves with it."""
    return "its study.db" if plan.settings.storage is None else storage.shown(plan.url)


def _earlier_studies(plan: Plan) -> list[optuna.Study]:
    """Those that the plan names, read-only.

    Raises:
        UserError: One is not there, or is the plan's own.
    """
    return [_told_of(plan, each) for each in plan.settings.previous]


def _told_of(plan: Plan, given: str) -> optuna.Study:
    """An earlier study; where its URL is a bad one, a message of whose it is."""
    with_url = re.fullmatch(r"(.+?)@([\w+]+://.*)", given)  # a name may have an @ of its own
    name, url = with_url.groups() if with_url else (given, None)
    try:
        return _earlier(plan, name, url)
    except storage.StorageError as error:
        why = str(error).replace("`storage`", "the URL", 1)
        raise UserError(f"--previous {name}: {why}") from None


def _earlier(plan: Plan, name: str, url: str | None) -> optuna.Study:
    told = f"--previous {name}" + (f"@{storage.shown(url)}" if url is not None else "")
    own = Path(plan.settings.output) / name
    if url is None:  # beside this one
        url = plan.settings.storage or database_in(own)
    if (name, url) == (plan.name, plan.url):
        raise UserError(f"{told}: is this study itself; leave it out, or give --study a new name")
    found = f"there is no study of that name in {storage.shown(url)}; "
    way_out = "give NAME@URL where it is in another storage"
    if plan.search_only and name == proxy_name(plan.name):
        told = "--proxy with --search-only"
        way_out = "run the command once without --search-only, which makes it"
    if url == database_in(own) and not own.exists() or not storage.exists(url):
        raise UserError(f"{told}: {found}{way_out}")
    study = _load_by_name(name, url)
    if study is None:
        raise UserError(f"{told}: {found}it has {_names(url)}; {way_out}")
    return study


def _load_by_name(name: str, url: str) -> optuna.Study | None:
    """None where there is none of that name."""
    if not storage.exists(url):
        return None
    try:
        return optuna.load_study(study_name=name, storage=storage.open(url))
    except KeyError:  # Optuna's word for: no study of that name
        return None


def _names(url: str) -> str:
    """The studies there, for people."""
    there = optuna.get_all_study_names(storage.open(url)) if storage.exists(url) else []
    return ", ".join(there) or "none"


def open_study(
    plan: Plan,
    samples_fingerprint: str,
    direction: Direction,
    ask_first: Callable[[optuna.Study], None] = lambda study: None,
) -> optuna.Study:
    """The study, made or continued.

    Args:
        plan: Its experiment, storage, sampler and pruner.
        samples_fingerprint: Of the token samples that its trials learn from.
        direction: Of the objective.
        ask_first: Puts trials in the queue, before those of `[study] start`.

    Raises:
        UserError: Earlier trials learned from others, or the study looks the other way.
    """
    with writing(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier_studies(plan)
    study = optuna.create_study(
        study_name=plan.name,
        storage=storage.open(plan.url),
        sampler=sampler_of(plan, earlier),
        pruner=PRUNERS[plan.settings.pruner](plan.experiment.n_reports),
        direction=direction,
        load_if_exists=True,
    )
    check_direction(study, direction, storage.shown(plan.url))
    with writing(plan.folder):
        keep_owner(plan.folder, _storage(plan), study)
    for each in earlier:
        told = _told_by(each, set(plan.experiment.search_space()))
        print(f"previous       {each.study_name}: {told}", flush=True)
    _tell_misfits(plan, study)
    if plan.experiment.search.prior() and plan.settings.sampler != "bamsoo":
        print(f"prior          of [search]: bamsoo uses it, {plan.settings.sampler} does not")
    keep_experiment(study, plan.experiment, samples_fingerprint)
    # by one process, and before others are failed: whoever fails one puts it back a moment later
    begins = not plan.search_only and not plan.is_closing_job
    left = storage.take_up(study, finished) if begins else []
    for number in (*left, *storage.recover(study)):
        print(f"trial {number} was left by a process that is gone; it is run again")
    ask_first(study)
    for params in plan.settings.start:
        study.enqueue_trial(params, skip_if_exists=True)
    return study


def _told_by(earlier: optuna.Study, searched: set[str]) -> str:
    """How much an earlier study has to say, and what of it is no matter here."""
    complete = earlier.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    count = f"{len(complete)} complete trial{'' if len(complete) == 1 else 's'}"
    theirs = {name for trial in complete for name in trial.params}
    if not complete:
        return f"{count}, so that nothing is learned from it"
    if not theirs & searched:
        return f"{count}, of other parameters than are searched here, and so without a use"
    only = ", ".join(sorted(theirs - searched))
    return count + (f"; not searched here, and left out: {only}" if only else "")


def _tell_misfits(plan: Plan, study: optuna.Study) -> None:
    """One line where earlier trials were asked for by another sampler.

    Other ranges are told of before anything is loaded.
    """
    if check_comparable(study, plan.experiment, storage.shown(plan.url)):
        return
    misfits = getattr(study.sampler, "misfits", None)
    told = misfits and misfits(study)
    if told:
        print(f"study {plan.name}: {told}; earlier trials count where they lie", flush=True)


def tell_end(limits: Limits, *, exhausted: bool) -> None:
    """Why the search is over, where that does not go without saying."""
    if (why := limits.why_ended(exhausted)) is not None:
        print(f"search ended   {why}", flush=True)


def tell_over(plan: Plan) -> None:
    """Where `has_work` has none: how many trials there are, and why there are no more."""
    study = existing_study(plan)
    assert study is not None, "it has all trials that were wanted"
    tell_finished(plan, study)
    tell_end(Limits(plan, study), exhausted=False)


def tell_finished(plan: Plan, study: optuna.Study) -> int:
    """The trials finished before."""
    done = len(finished(study))
    of = "" if plan.trials is None or done > plan.trials else f" of {plan.trials}"
    where = storage.shown(plan.url)
    print(f"study {plan.name} in {where}: {done}{of} trials finished", flush=True)
    return done
