"""Whether a study and an experiment compare: the settings that values depend on, in the study."""

from __future__ import annotations

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import check_distribution_compatibility
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import json_to_distribution
from optuna.trial import TrialState
from pydantic import BaseModel

from objectives.errors import UserError
from objectives.settings.config import Experiment
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.data import MOST_VALIDATION_ROWS
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.paths import portable
from objectives.settings.sections.scoring import Direction
from objectives.settings.sections.sources import in_words
from objectives.settings.sections.training import TrainingSettings


__all__ = ["EXPERIMENT", "check_comparable", "check_direction", "keep_experiment"]

EXPERIMENT = "experiment"
"""Study user attribute: the settings that values depend on."""
SAMPLES = "samples"
"""Study user attribute: the fingerprint of the token samples."""
_NO_VALUE_DEPENDS_ON = {
    *("sharded", "attn_implementation", "use_liger_kernel"),
    *("micro_batch", "gradient_checkpointing", "padding_free", "validations"),
}
"""Settings that change memory, speed, roundings, or when one looks; see `_check_reports`."""


def keep_experiment(
    study: optuna.Study, experiment: Experiment | OwnExperiment, samples_fingerprint: str
) -> None:
    """Writes down what the study's values depend on.

    Args:
        study: One that compares with the experiment.
        experiment: Its settings.
        samples_fingerprint: Of the corpus.

    Raises:
        UserError: The study's trials learned from other samples.
    """
    before = study.user_attrs.get(SAMPLES, samples_fingerprint)
    if before != samples_fingerprint:
        raise UserError(
            f"--study {study.study_name}: its trials learned from other samples: the data, or the "
            f"model's tokenizer, has changed under the same name (fingerprint was {before}, is "
            f"{samples_fingerprint}), and values would not compare; choose another --study, or "
            "restore it"
        )
    study.set_user_attr(SAMPLES, samples_fingerprint)
    study.set_user_attr(EXPERIMENT, _values_depend_on(experiment))


def check_comparable(
    study: optuna.Study, experiment: Experiment | OwnExperiment, where: str
) -> list[str]:
    """Refuses a study of another experiment; its ranges may have other ends.

    Args:
        study: One that exists.
        experiment: The one to continue it with.
        where: The study's storage, for the message.

    Returns:
        A line for each range that has changed.

    Raises:
        UserError: Names each setting that has changed, as it was and as it is.
    """
    kept = study.user_attrs.get(EXPERIMENT, {})
    now = _values_depend_on(experiment)
    before = {**({} if isinstance(experiment, OwnExperiment) else _defaults()), **kept}
    changed = [key for key in {**before, **now} if kept and before.get(key) != now.get(key)]
    told = {
        key: f"{key}: was {_in_words(before.get(key))}, is {_in_words(now.get(key))}"
        for key in changed
    }
    wrong = [key for key in changed if not _are_ranges(before.get(key), now.get(key))]
    name = study.study_name
    if wrong:
        raise UserError(
            f"--study {name}: exists in {where} with another experiment, and its trials are none "
            "of this one; choose another --study, or restore:\n"
            + "\n".join(f"  {told[key]}" for key in wrong)
        )
    if experiment.direction is not None:
        check_direction(study, experiment.direction, where)
    if isinstance(experiment, Experiment):
        _check_reports(study, experiment)
    return [f"{line}; earlier trials count where they lie in it" for line in told.values()]


def _check_reports(study: optuna.Study, experiment: Experiment) -> None:
    """Refuses reports that are of other parts of a training than those they are compared with.

    A part has its number, and a whole training's last one is how many there are.
    """
    told = [t for t in study.get_trials(deepcopy=False) if "validation_losses" in t.user_attrs]
    states = {t.state for t in told if t.intermediate_values}
    whole = (t.last_step for t in told if t.state is TrialState.COMPLETE)
    before = {last for last in whole if last is not None}
    now, pruner = experiment.n_reports, experiment.study.pruner
    compared = TrialState.PRUNED in states or pruner != "none"
    if not compared or not before or now in before:
        return
    was = " or ".join(map(str, sorted(before)))
    leave = "" if TrialState.PRUNED in states else f", or leave the pruner {pruner} out"
    raise UserError(
        f"--study {study.study_name}: its trials had `[training] validations` = {was}, and now it "
        f"is {now}: pruning compares losses by the number of their validation, which would be of "
        f"other parts of a training; restore it, choose another --study{leave}"
    )


def check_direction(study: optuna.Study, direction: Direction, where: str) -> None:
    """Refuses a study that looks the other way; `where` is its storage."""
    if study.direction.name.lower() != direction:
        raise UserError(
            f"--study {study.study_name}: exists in {where} to {study.direction.name.lower()}, "
            f"and this experiment is to {direction}; choose another --study"
        )


def _are_ranges(before: str | None, now: str | None) -> bool:
    """Whether a hyperparameter is searched as it was, but for the ends of its range."""
    if before is None or now is None or not (_is_searched(before) and _is_searched(now)):
        return False
    try:
        check_distribution_compatibility(json_to_distribution(before), json_to_distribution(now))
    except ValueError:  # Optuna keeps one kind of distribution for a name
        return False
    return True


def _is_searched(setting: str) -> bool:
    """As kept in the study, a distribution is Optuna's JSON."""
    return setting.startswith('{"name":')


def _in_words(setting: str | None) -> str:
    """A setting as kept in the study."""
    if setting is None:
        return "absent"
    if not _is_searched(setting):
        return setting
    distribution = json_to_distribution(setting)
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(str, distribution.choices))}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = " on a log scale" if distribution.log else ""
    natural = 1 if isinstance(distribution, IntDistribution) else None
    step = "" if distribution.step == natural else f" in steps of {distribution.step:.12g}"
    return f"{distribution.low:.12g} to {distribution.high:.12g}{step}{scale}"


def _defaults() -> dict[str, str]:
    """What a study that is older than a setting was made with."""
    sections: dict[str, type[BaseModel]] = {
        "model": ModelSettings,
        "data": DataSettings,
        "training": TrainingSettings,
    }
    return {
        f"[{section}] {name}": str(field.get_default(call_default_factory=True))
        for section, settings in sections.items()
        for name, field in settings.model_fields.items()
        if not field.is_required() and name not in _NO_VALUE_DEPENDS_ON
    }


def _values_depend_on(experiment: Experiment | OwnExperiment) -> dict[str, str]:
    """The settings that make values comparable, as text."""
    if isinstance(experiment, OwnExperiment):
        return experiment.values_depend_on()
    space = {n: distribution_to_json(d) for n, d in experiment.search_space().items()}
    scoring = experiment.scoring.model_dump(include={"objective", "metric", "limit", "few_shot"})
    training = experiment.training.model_dump(exclude=_NO_VALUE_DEPENDS_ON)
    model = experiment.model.model_dump(exclude=_NO_VALUE_DEPENDS_ON)
    data = experiment.data.model_dump(exclude=_NO_VALUE_DEPENDS_ON)
    model["name"] = portable(model["name"])
    for key in ("train", "validation"):
        given = getattr(experiment.data, key)
        data[key] = given and in_words(given)
    # None is false for the instructions of old studies; of other rows the fingerprint tells.
    data["mask_prompt"] = bool(data["mask_prompt"])
    data["validation_rows"] = data["validation_rows"] or MOST_VALIDATION_ROWS  # likewise
    sections = {
        "model": model,
        "search": {**space, **experiment.search.fixed()},
        "data": data,
        "training": training,
        "scoring": scoring,
    }
    return {f"[{s}] {k}": str(v) for s, keys in sections.items() for k, v in keys.items()}
