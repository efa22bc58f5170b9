"""Whether a study and an experiment compare: the settings that values depend on, in the study."""

from __future__ import annotations

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import check_distribution_compatibility
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import json_to_distribution

from objectives.errors import UserError
from objectives.settings.config import Experiment
from objectives.settings.sections import portable


__all__ = ["check_comparable", "keep_experiment"]

EXPERIMENT = "experiment"
"""Study user attribute: the settings that values depend on."""
SAMPLES = "samples"
"""Study user attribute: the fingerprint of the token samples."""


def keep_experiment(study: optuna.Study, experiment: Experiment, samples: str) -> None:
    """Writes down what the study's values depend on.

    Args:
        study: One that compares with the experiment.
        experiment: Its settings.
        samples: The corpus's fingerprint.

    Raises:
        UserError: The study's trials learned from other samples.
    """
    before = study.user_attrs.get(SAMPLES, samples)
    if before != samples:
        raise UserError(
            f"--study {study.study_name}: its trials learned from other samples: the data, or the "
            f"model's tokenizer, has changed under the same name (fingerprint was {before}, is "
            f"{samples}), and values would not compare; choose another --study, or restore it"
        )
    study.set_user_attr(SAMPLES, samples)
    study.set_user_attr(EXPERIMENT, _values_depend_on(experiment))


def check_comparable(study: optuna.Study, experiment: Experiment, where: str) -> list[str]:
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
    before = study.user_attrs.get(EXPERIMENT, {})
    now = _values_depend_on(experiment)
    changed = [key for key in {**before, **now} if before and before.get(key) != now.get(key)]
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
    if study.direction.name.lower() != experiment.direction:
        raise UserError(
            f"--study {name}: exists in {where} to {study.direction.name.lower()}, and "
            f"this experiment is to {experiment.direction}; choose another --study"
        )
    return [f"{line}; earlier trials count where they lie in it" for line in told.values()]


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


def _values_depend_on(experiment: Experiment) -> dict[str, str]:
    """The settings that make values comparable, as text."""
    space = {n: distribution_to_json(d) for n, d in experiment.search_space().items()}
    scoring = experiment.scoring.model_dump(include={"objective", "metric", "limit", "few_shot"})
    training = experiment.training.model_dump(exclude={"micro_batch", "validations"})
    model = experiment.model.model_dump(exclude={"sharded"})
    data = experiment.data.model_dump()
    model["name"] = portable(model["name"])
    for key in ("train", "validation"):
        data[key] = data[key] and portable(data[key])
    sections = {
        "model": model,
        "search": {**space, **experiment.search.fixed()},
        "data": data,
        "training": training,
        "scoring": scoring,
    }
    return {f"[{s}] {k}": str(v) for s, keys in sections.items() for k, v in keys.items()}
