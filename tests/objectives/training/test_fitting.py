"""What makes a training fit: the same losses with less memory, and a trial's own settings."""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import suppress
from dataclasses import replace
import itertools
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from plain_loop import CHOSEN
from plain_loop import SETTINGS
import pytest
from rounding import LOSS
from to_the_end import losses
import torch
from torch import nn
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from trainings import experiment
from trainings import OTHERS
from trainings import PARAMS
from trainings import run
from transformers import DataCollatorWithFlattening
from transformers.modeling_layers import GradientCheckpointingLayer

from objectives.data.corpus import collate
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Report
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.padding_free import end_to_end
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.settings.sections.training import OF_PREFERENCES
from objectives.settings.sections.training import SEARCHABLE
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


__all__ = ["experiment"]  # fixtures

CHECKPOINTED = SETTINGS.model_copy(update={"gradient_checkpointing": True})
END_TO_END = SETTINGS.model_copy(update={"padding_free": True})


def activations(bench: Bench, settings: TrainingSettings) -> int:
    """Bytes that a step of one forward keeps for its backward pass.

    A layer that is computed twice keeps its input where autograd's hooks do not see it.
    """
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # or an address would come again
    weights = {p.untyped_storage().data_ptr() for p in bench.base.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and not isinstance(tensor, nn.Parameter):
            alive.append(tensor)
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    def forward_pre_hook(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if layer.training:
            note(given[0])

    layers = [m for m in bench.base.modules() if isinstance(m, GradientCheckpointingLayer)]
    once = settings.model_copy(update={"max_steps": 1, "micro_batch": 12})
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(forward_pre_hook).remove)
        stack.enter_context(saved_tensors_hooks(note, lambda tensor: tensor))
        losses(bench, once, CHOSEN)
    return sum(found.values())


def test_a_layer_that_is_computed_twice_keeps_its_input_alone(bench: Bench) -> None:
    """What is left is two layers' inputs, the head's and the loss's: with more layers, less."""
    plain, checkpointed = (activations(bench, s) for s in (SETTINGS, CHECKPOINTED))
    assert checkpointed < plain / 3


def test_activations_that_are_computed_twice_change_no_bit(bench: Bench) -> None:
    chosen = replace(CHOSEN, dropout=0.2, neftune_noise_alpha=5.0)
    expected = losses(bench, SETTINGS, chosen)
    assert losses(bench, CHECKPOINTED, chosen) == expected
    automatic = SETTINGS.model_copy(update={"gradient_checkpointing": "auto"})
    assert losses(bench, automatic, chosen) == expected


def test_samples_end_to_end_have_the_losses_of_padded_ones(bench: Bench) -> None:
    expected = losses(bench, SETTINGS, CHOSEN)
    both = END_TO_END.model_copy(update={"gradient_checkpointing": True})
    for settings in (END_TO_END, both):
        assert losses(bench, settings, CHOSEN) == pytest.approx(expected, rel=LOSS)


def test_end_to_end_is_as_transformers_lays_them(bench: Bench) -> None:
    samples = bench.corpus.train[:4]
    ours = end_to_end(collate(samples, bench.corpus.pad_id))
    rows = [{"input_ids": [*s.input_ids], "labels": [*s.labels]} for s in samples]
    theirs = DataCollatorWithFlattening()(rows)
    for name in ("input_ids", "position_ids", "labels"):
        assert ours[name].tolist() == theirs[name].tolist()


OWN = {
    "targets": "attention",
    "rslora": True,
    "dora": True,
    "loraplus_lr_ratio": 8.0,
    "init_lora_weights": "pissa",
    "optimizer": "sgd",
    "warmup": 0.6,
    "schedule": "constant",
    "clip": 0.01,
    "neftune_noise_alpha": 5.0,
}


@pytest.mark.parametrize("name", [n for n in SEARCHABLE if n not in OF_PREFERENCES])
def test_a_searched_setting_is_the_same_as_one_of_all_trials(bench: Bench, name: str) -> None:
    """And not as the default."""
    own = losses(bench, SETTINGS, replace(CHOSEN, **{name: OWN[name]}))
    assert own == losses(bench, SETTINGS.model_copy(update={name: OWN[name]}), CHOSEN)
    assert own != losses(bench, SETTINGS, CHOSEN)


def with_checkpointing(experiment: Experiment, wanted: bool | str) -> Experiment:
    changed = experiment.training.model_copy(update={"gradient_checkpointing": wanted})
    return experiment.model_copy(update={"training": changed})


def test_auto_computes_twice_what_does_not_fit_by_halves(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """A layer keeps all of its activations, for which there is no memory at all."""

    def forward_hook(layer: Any, *_: object) -> None:
        if layer.training and not layer.gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    plain = PARAMS | {"dropout": 0.0}
    (expected,) = run(LoraObjective(experiment, Runner(experiment, bench, None), tmp_path), plain)
    layer = next(m for m in bench.base.modules() if isinstance(m, GradientCheckpointingLayer))
    with layer.register_forward_hook(forward_hook):
        for wanted in ("auto", True, False):
            own = with_checkpointing(experiment, wanted)
            objective = LoraObjective(own, Runner(own, bench, None), tmp_path)
            for trial in run(objective, plain, plain):
                if wanted is False:
                    assert trial.state is TrialState.FAIL
                else:
                    assert trial.value == expected.value
                    assert trial.user_attrs["gradient_checkpointing"] is True
                    assert trial.user_attrs["micro_batch"] == 6
    assert "gradient_checkpointing" not in expected.user_attrs


def test_one_that_fell_back_and_was_cut_off_goes_on_as_it_was(
    experiment: Experiment, bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A layer keeps its activations until the first validation, and then there is no memory.

    So there is a checkpoint of each smaller batch, and one of the fall-back, which is ahead.
    """
    auto = with_checkpointing(experiment, "auto")
    plain = PARAMS | {"dropout": 0.0}
    (expected,) = run(LoraObjective(auto, Runner(auto, bench, None), tmp_path), plain)
    validated = []

    def forward_hook(layer: Any, *_: object) -> None:
        if not layer.training:
            validated.append(True)
        elif validated and not layer.gradient_checkpointing:
            validated.clear()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    runner = Runner(auto, bench, None)

    def cut_off(job: Job, report: Report) -> Outcome:
        def reported(validation: Validation) -> bool:
            if validation.part == 2:
                raise KeyboardInterrupt
            return report(validation)

        return runner(job, reported)

    study = optuna.create_study()
    layer = next(m for m in bench.base.modules() if isinstance(m, GradientCheckpointingLayer))
    with layer.register_forward_hook(forward_hook):
        for attempt in (cut_off, runner):
            objective = LoraObjective(auto, attempt, tmp_path)
            study.enqueue_trial(plain)
            caplog.clear()
            with suppress(KeyboardInterrupt):
                study.optimize(objective, n_trials=1)
    trial = study.trials[1]
    assert trial.value == expected.value and not caplog.messages, "nothing is tried again"
    assert trial.user_attrs["resumed_at"] == expected.user_attrs["steps"]
    assert trial.user_attrs["micro_batch"] == 6
    assert trial.user_attrs["gradient_checkpointing"] is True
    study.enqueue_trial(OTHERS)
    study.optimize(objective, n_trials=1)
    assert "gradient_checkpointing" not in study.trials[2].user_attrs, "it was one file's"
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_files_that_say_nothing_of_it_are_gone_on_with(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """As they were named before, also where activations were computed twice."""
    validations = itertools.count(1)

    class Stopping(BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            if next(validations) == 1:
                raise KeyboardInterrupt
            return False

    own = with_checkpointing(experiment, True)
    study = optuna.create_study(pruner=Stopping())
    objective = LoraObjective(own, Runner(own, bench, None), tmp_path)
    for _ in range(2):
        study.enqueue_trial(PARAMS)
        with suppress(KeyboardInterrupt):
            study.optimize(objective, n_trials=1)
        for file in tmp_path.rglob("*-6c.checkpoint"):
            file.rename(file.with_name(file.name.replace("-6c", "-6")))
    assert study.trials[1].user_attrs["resumed_at"] == study.trials[0].user_attrs["steps"]
