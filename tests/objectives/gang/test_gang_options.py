"""Gangs: what makes a training fit, and a trial's own settings, give what they give alone."""

from __future__ import annotations

from pathlib import Path

from commands import one_thread
import optuna
from optuna.trial import FrozenTrial
import pytest
from rounding import LOSS

from objectives.gang.supervisor import Gang
from objectives.model.bench import load_bench
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.study import StudySettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


__all__ = ["one_thread"]  # fixtures

FIXED = {"weight_decay": 0.1, "rank": 4, "alpha": 8, "dropout": 0.0, "effective_batch": 12}
SEARCHED = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "loraplus_lr_ratio": {"low": 1, "high": 16},
    "optimizer": {"choices": ["adamw_torch_fused", "adafactor"]},
    "schedule": {"choices": ["cosine", "linear"]},
    "init_lora_weights": {"choices": ["default", "pissa"]},
}
WAYS = (
    {"loraplus_lr_ratio": 8.0, "optimizer": "adamw_torch_fused", "schedule": "linear"},
    {"loraplus_lr_ratio": 1.0, "optimizer": "adafactor", "schedule": "cosine"},
)
# Adafactor divides by means of squares of little gradients, which passes on more than it gets
CLOSE = (LOSS, 100 * LOSS)


STARTS = ("pissa", "default")


def trials(objective: LoraObjective) -> list[FrozenTrial]:
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    for way, start in zip(WAYS, STARTS, strict=True):
        study.enqueue_trial({"learning_rate": 5e-3, **way, "init_lora_weights": start})
    study.optimize(objective, n_trials=len(WAYS))
    return study.trials


def test_two_ranks_give_what_this_process_gives(
    tiny_experiment: Experiment, tmp_path: Path
) -> None:
    """A base in shares gives what a base for each rank does, see test_sharded.py."""
    plain = TrainingSettings(validations=2, micro_batch=6, max_steps=5)
    experiment = tiny_experiment.model_copy(
        update={
            "training": plain,
            "search": SearchSettings.model_validate({**FIXED, **SEARCHED}),
            "study": StudySettings(checkpoints="none"),
        }
    )
    runner = Runner(experiment, load_bench(experiment), None)
    expected = trials(LoraObjective(experiment, runner, tmp_path / "alone"))
    fitting = plain.model_copy(update={"gradient_checkpointing": True, "padding_free": True})
    fitted = experiment.model_copy(update={"training": fitting})
    with Gang(fitted, ranks=2) as gang:
        found = trials(LoraObjective(fitted, gang, tmp_path / "gang"))
    for ours, other, close in zip(found, expected, CLOSE, strict=True):
        assert ours.intermediate_values == pytest.approx(other.intermediate_values, rel=close)
        assert ours.user_attrs["gradient_checkpointing"] is True
    assert expected[0].value != pytest.approx(expected[1].value, rel=100 * LOSS)
