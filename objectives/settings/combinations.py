"""Settings that exclude each other, also where one of them is searched; touches nothing."""

from __future__ import annotations

from objectives.errors import UserError
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.scoring import LOSS
from objectives.settings.sections.study import StudySettings
from objectives.settings.sections.training import is_of_bitsandbytes
from objectives.settings.sections.training import OF_PREFERENCES
from objectives.settings.sections.training import starts_in_base


__all__ = ["check_chosen", "check_combinations"]

_NOT_IN_A_PACK = {
    "dora": ("DoRA adapters cannot be packed", "set dora = false"),
    "init_lora_weights": (
        "adapters that start with a part of the base (PiSSA, OLoRA) cannot share it",
        'set init_lora_weights = "default"',
    ),
    "gradient_checkpointing": (
        "a pack keeps all activations",
        'set gradient_checkpointing = "auto", which halves a pack first',
    ),
    "padding_free": ("a pack's rows are padded", "set padding_free = false"),
    "optimizer": (
        "optimizers of bitsandbytes take a parameter out of the pack's memory",
        'set optimizer = "adamw_torch_fused"',
    ),
    "method": ("preferences are trained one adapter at a time", 'set method = "sft"'),
}


def check_combinations(experiment: Experiment, settings: StudySettings) -> None:
    """Before anything is loaded.

    Args:
        experiment: As its file says it.
        settings: Of the study, with the command line's over them.

    Raises:
        UserError: Names two settings, and how to get rid of one.
    """
    _check_pack(settings, experiment)
    _check_sharded(settings, experiment)
    _check_start(experiment)
    _check_preferences(experiment)
    if experiment.training.padding_free and any(experiment.values_of("neftune_noise_alpha")):
        raise UserError(
            "`[training] padding_free` = true: NEFTune's noise depends on the length of a row, "
            "which then holds many samples; set padding_free = false, or leave "
            "neftune_noise_alpha out"
        )


def check_chosen(experiment: Experiment, chosen: Hyperparameters) -> None:
    """The same of one training.

    Args:
        experiment: Its settings.
        chosen: What it is to be trained with.

    Raises:
        UserError: They exclude each other.
    """
    for name in OF_PREFERENCES:
        if getattr(chosen, name) is not None and experiment.training.method != "dpo":
            raise UserError(
                f"{name} = {getattr(chosen, name)}: is of preferences, and the training has none; "
                'set `[training] method` = "dpo", or leave it out'
            )
    settings = {"training": chosen.over(experiment.training), "search": SearchSettings()}
    whole = experiment.model_copy(update=settings)
    check_combinations(whole, whole.study)


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
    for name, (rule, way_out) in _NOT_IN_A_PACK.items():
        if any(_excludes(name, value) for value in experiment.values_of(name)):
            raise UserError(f"--pack {settings.pack}: {rule}; {way_out}, or leave --pack out")


def _excludes(name: str, value: object) -> bool:
    if name == "init_lora_weights":
        return starts_in_base(value)
    if name == "optimizer":
        return is_of_bitsandbytes(value)
    return value in (True, "dpo")


def _check_sharded(settings: StudySettings, experiment: Experiment) -> None:
    if not experiment.model.sharded:
        return
    if (settings.gpus_per_trial or 1) == 1:
        raise UserError(
            "`[model] sharded` = true: the base is shared out among a trial's GPUs; "
            "give --gpus-per-trial 2 or more, or set sharded = false"
        )
    if experiment.scoring.answers:
        raise UserError(
            "`[scoring] answers`: a base in shares answers no prompts; leave it out, or set "
            "`[model] sharded` = false"
        )
    if experiment.model.quantization is not None or True in experiment.values_of("dora"):
        raise UserError(
            "`[model] sharded` = true: a base in 4 bits and DoRA adapters need whole weights; "
            "leave quantization and dora out, or set sharded = false"
        )


def _check_preferences(experiment: Experiment) -> None:
    training, searched = experiment.training, experiment.search
    if training.method == "dpo" and training.padding_free:
        raise UserError(
            "`[training] padding_free` = true: the two answers of a preference are rows of their "
            "own; set padding_free = false"
        )
    for name in OF_PREFERENCES:
        if getattr(searched, name) is None:
            continue
        if training.method != "dpo":
            raise UserError(
                f"`[search] {name}`: is of preferences; "
                'set `[training] method` = "dpo", or leave it out'
            )
        if experiment.scoring.objective == LOSS:
            raise UserError(
                f"`[search] {name}`: makes another loss of each trial, so that validation losses "
                'do not compare; set `[scoring] objective` = "preference_accuracy" or a task, or '
                f"fix {name} under [training]"
            )


def _check_start(experiment: Experiment) -> None:
    starts = [v for v in experiment.values_of("init_lora_weights") if starts_in_base(v)]
    if not starts:
        return
    others = {
        '`[model] quantization` = "4bit"': experiment.model.quantization is not None,
        "`[model] sharded` = true": experiment.model.sharded,
        "dora = true": True in experiment.values_of("dora"),
    }
    for other, given in others.items():
        if given:
            raise UserError(
                f"init_lora_weights = {starts[0]!r}: takes a part out of whole weights, which "
                f"{other} does not leave; leave one of the two out"
            )
