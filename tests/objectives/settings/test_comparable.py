"""Which changes of an experiment make a study's values no longer compare."""

from __future__ import annotations

from pathlib import Path
import re

from commands import experiment
import optuna
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from objectives.errors import UserError
from objectives.settings.comparable import check_comparable
from objectives.settings.comparable import EXPERIMENT
from objectives.settings.comparable import keep_experiment
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment


__all__ = ["experiment"]  # the fixture


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("dropout = 0.1", "dropout = 0.4", "[search] dropout"),
        ("effective_batch = 16", "effective_batch = 64", "[search] effective_batch"),
        ("[model]", '[model]\ndtype = "float16"', "[model] dtype"),
        ("epochs = 2", "epochs = 9", "[training] epochs"),
    ],
)
def test_a_setting_that_values_depend_on_is_named(
    experiment: Path, old: str, new: str, key: str
) -> None:
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    check_comparable(study, load_experiment(experiment), "here")
    experiment.write_text(experiment.read_text().replace(old, new))
    with pytest.raises(UserError, match=re.escape(f"{key}: was")):
        check_comparable(study, load_experiment(experiment), "here")


def test_a_study_older_than_a_setting_was_made_with_its_default(experiment: Path) -> None:
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    kept = study.user_attrs[EXPERIMENT]
    study.set_user_attr(EXPERIMENT, {k: v for k, v in kept.items() if k != "[training] clip"})
    check_comparable(study, load_experiment(experiment), "here")
    text = experiment.read_text().replace("[training]", "[training]\nclip = 0.5")
    experiment.write_text(text)
    with pytest.raises(UserError, match=r"\[training\] clip: was 1.0, is 0.5"):
        check_comparable(study, load_experiment(experiment), "here")


NEWER = (
    *("max_steps", "optimizer", "loraplus_lr_ratio", "neftune_noise_alpha", "init_lora_weights"),
    *("gradient_checkpointing", "padding_free"),
)
"""Settings of `[training]` that studies of 0.1 lack."""


def test_a_study_of_the_first_version_goes_on(experiment: Path) -> None:
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    kept = study.user_attrs[EXPERIMENT]
    old = {k: v for k, v in kept.items() if k.removeprefix("[training] ") not in NEWER}
    assert len(old) == len(kept) - 5, "two of them no value depends on"
    assert not any("attn" in key or "liger" in key for key in kept)
    study.set_user_attr(EXPERIMENT, old)
    assert check_comparable(study, load_experiment(experiment), "here") == []
    text = experiment.read_text().replace("[training]", '[training]\noptimizer = "sgd"')
    experiment.write_text(text)
    with pytest.raises(UserError, match=r"\[training\] optimizer: was adamw_torch_fused, is sgd"):
        check_comparable(study, load_experiment(experiment), "here")


RANK = "rank = {low = 2, high = 8, log = true}"
RATE = "learning_rate = {low = 1e-4, high = 1e-1, log = true}"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (RANK, "rank = 4", "was 2 to 8 on a log scale, is 4.0"),
        (RANK, "rank = {choices = [2, 8]}", "was 2 to 8 on a log scale, is one of 2, 8"),
        (RANK, "rank = {low = 2, high = 8, step = 2}", "is 2 to 8 in steps of 2"),
        (RANK, "rank = {low = 2, high = 8}", "was 2 to 8 on a log scale, is 2 to 8"),
        ("alpha = 8", "alpha = {low = 4, high = 9}", "was 8.0, is 4 to 9"),
    ],
)
def test_another_kind_of_search_is_told_in_words(
    experiment: Path, old: str, new: str, told: str
) -> None:
    study = optuna.create_study(study_name="mine")
    keep_experiment(study, load_experiment(experiment), "samples")
    experiment.write_text(experiment.read_text().replace(old, new))
    with pytest.raises(UserError) as caught:
        check_comparable(study, load_experiment(experiment), "here")
    first, line = str(caught.value).splitlines()
    assert "choose another --study, or restore" in first
    assert line.startswith(f"  [search] {old.partition(' ')[0]}: was ") and line.endswith(told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (RANK, RANK.replace("8", "16"), "rank: was 2 to 8 on a log scale, is 2 to 16 on a log"),
        (RATE, RATE.replace("e-4", "e-5"), "was 0.0001 to 0.1 on a log scale, is 1e-05 to 0.1"),
    ],
)
def test_a_study_goes_on_with_other_ends_of_a_range(
    experiment: Path, old: str, new: str, told: str
) -> None:
    study = optuna.create_study(study_name="mine")
    keep_experiment(study, load_experiment(experiment), "samples")
    experiment.write_text(experiment.read_text().replace(old, new))
    (line,) = check_comparable(study, load_experiment(experiment), "here")
    assert told in line and line.endswith("earlier trials count where they lie in it")


def test_what_changes_speed_alone_is_no_other_experiment(experiment: Path) -> None:
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    experiment.write_text(experiment.read_text().replace("micro_batch = 8", "micro_batch = 4"))
    check_comparable(study, load_experiment(experiment), "here")


def reported(state: TrialState, parts: int) -> FrozenTrial:
    """A trial that was validated so often, as the objective leaves it."""
    losses = {part: 1 / part for part in range(1, parts + 1)}
    return create_trial(
        state=state,
        value=losses[parts],
        intermediate_values=losses,
        user_attrs={"validation_losses": [[10 * part, loss] for part, loss in losses.items()]},
    )


def with_pruner(experiment: Path, pruner: str, validations: int) -> Experiment:
    text = experiment.read_text().replace("validations = 2", f"validations = {validations}")
    experiment.write_text(text.replace("[study]", f'[study]\npruner = "{pruner}"'))
    return load_experiment(experiment)


WHOLE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED


@pytest.mark.parametrize(
    ("states", "pruner", "way_out"),
    [
        ([WHOLE, PRUNED], "median", "another --study"),
        ([WHOLE, PRUNED], "none", "another --study"),
        ([WHOLE], "bound", "another --study, or leave the pruner bound out"),
    ],
)
def test_parts_that_are_compared_stay_the_same(
    experiment: Path, states: list[TrialState], pruner: str, way_out: str
) -> None:
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    study.add_trials([reported(state, 2 if state is WHOLE else 1) for state in states])
    check_comparable(study, load_experiment(experiment), "here")
    with pytest.raises(UserError, match=f"= 2, and now it is 4: .*{way_out}$"):
        check_comparable(study, with_pruner(experiment, pruner, validations=4), "here")


def test_where_none_are_compared_one_may_look_more_often(experiment: Path) -> None:
    """And a study that has done both goes on with either."""
    study = optuna.create_study()
    keep_experiment(study, load_experiment(experiment), "samples")
    study.add_trial(reported(WHOLE, 2))
    more = with_pruner(experiment, "none", validations=4)
    check_comparable(study, more, "here")
    study.add_trials([reported(WHOLE, 4), reported(PRUNED, 1)])
    check_comparable(study, more, "here")


def test_other_samples_under_the_same_names_are_refused(experiment: Path) -> None:
    study = optuna.create_study(study_name="mine")
    keep_experiment(study, load_experiment(experiment), "0a1b")
    keep_experiment(study, load_experiment(experiment), "0a1b")
    with pytest.raises(UserError, match="--study mine: .* was 0a1b, is 2c3d.* restore it"):
        keep_experiment(study, load_experiment(experiment), "2c3d")
