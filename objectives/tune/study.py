"""The study of a plan: opened or continued in its storage."""

from __future__ import annotations

import optuna

from objectives.output import writing
from objectives.settings.comparable import check_comparable
from objectives.settings.comparable import keep_experiment
from objectives.settings.plan import Plan
from objectives.tune.progress import finished
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import sampler_of
import storage


__all__ = ["existing_study", "open_study", "tell_finished"]


def existing_study(plan: Plan) -> optuna.Study | None:
    new = plan.settings.storage is None and not plan.folder.is_dir()
    if new or not storage.exists(plan.url):
        return None
    try:
        return optuna.load_study(study_name=plan.name, storage=storage.open(plan.url))
    except KeyError:  # Optuna's word for: no study of that name
        return None


def open_study(plan: Plan, samples: str) -> optuna.Study:
    """The study, made or continued.

    Args:
        plan: Its experiment, storage, sampler and pruner.
        samples: Fingerprint of the token samples its trials learn from.

    Raises:
        UserError: Earlier trials learned from others.
    """
    with writing(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=plan.name,
        storage=storage.open(plan.url),
        sampler=sampler_of(plan),
        pruner=PRUNERS[plan.settings.pruner](plan.experiment.training.validations),
        direction=plan.experiment.direction,
        load_if_exists=True,
    )
    _tell_misfits(plan, study)
    keep_experiment(study, plan.experiment, samples)
    for number in storage.recover(study):
        print(f"trial {number} was left by a process that is gone; it is run again")
    return study


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


def tell_finished(plan: Plan, study: optuna.Study) -> int:
    """The trials finished before."""
    done = len(finished(study))
    of = f"{done}{'' if plan.trials is None else f' of {plan.trials}'} trials finished"
    print(f"study {plan.name} in {storage.shown(plan.url)}: {of}", flush=True)
    return done
