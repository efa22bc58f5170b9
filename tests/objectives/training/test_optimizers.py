"""How an adapter learns: optimizers, LoRA+, NEFTune and lengths, against plain loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate.state import AcceleratorState
from accelerate.state import PartialState
from fingerprints import fingerprint
from hypothesis import given
from hypothesis import strategies
from peft import get_peft_model
from peft import LoraConfig
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from plain_loop import CHOSEN
from plain_loop import plain_losses
from plain_loop import SETTINGS
import pytest
from rounding import LOSS
from to_the_end import losses
import torch
from torch.optim import Optimizer
from transformers import LlamaConfig
from transformers import LlamaForCausalLM
from transformers import Trainer
from transformers import TrainingArguments

from objectives.data.corpus import count_steps
from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.training.checkpoint import Checkpoint
from objectives.training.checkpoint import fingerprint as base_fingerprint
from objectives.training.checkpoint import made_with
from objectives.training.learner import epochs_of
from objectives.training.learner import Learner
from objectives.training.loop import train
from objectives.training.optimizers import make_optimizer


# peft 0.21 asks transformers 5 for an attribute by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

WHOLE = SETTINGS.model_copy(update={"micro_batch": 12})  # a step in one forward
CPU_OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "adafactor", "sgd")
# Adafactor divides by means of squares of little gradients, which passes on more than it gets
CLOSE = {"adafactor": 100 * LOSS}


@contextmanager
def state_kept() -> Iterator[None]:
    """Accelerate has one state for a process, and transformers' arguments begin another."""
    states = [kind._shared_state for kind in (AcceleratorState, PartialState)]
    before = [dict(state) for state in states]
    try:
        yield
    finally:
        for state, was in zip(states, before, strict=True):
            state.clear()
            state.update(was)


@pytest.mark.parametrize("name", CPU_OPTIMIZERS)
def test_an_optimizer_is_transformers_of_that_name(
    bench: Bench, tiny_model_folder: Path, tmp_path: Path, name: str
) -> None:
    with state_kept():
        arguments = TrainingArguments(str(tmp_path), optim=name, learning_rate=5e-3)
        kind, rates = Trainer.get_optimizer_cls_and_kwargs(arguments)

    def of_trainer(model: PeftModel) -> Optimizer:
        made: Optimizer = kind(
            [p for p in model.parameters() if p.requires_grad], **rates, weight_decay=0.1
        )
        return made

    plain = plain_losses(tiny_model_folder, bench, "all-linear", optimizer_of=of_trainer)
    found = losses(bench, WHOLE.model_copy(update={"optimizer": name}), CHOSEN)[:-1]
    assert found == pytest.approx(plain, rel=CLOSE.get(name, LOSS))
    assert found[-1] != found[0]


def test_lora_plus_is_pefts(bench: Bench, tiny_model_folder: Path) -> None:
    def of_peft(model: PeftModel) -> Optimizer:
        made: Optimizer = create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            lr=5e-3,
            loraplus_lr_ratio=8.0,
            loraplus_weight_decay=0.1,
        )
        return made

    plain = plain_losses(tiny_model_folder, bench, "all-linear", optimizer_of=of_peft)
    found = losses(bench, WHOLE.model_copy(update={"loraplus_lr_ratio": 8.0}), CHOSEN)[:-1]
    assert found == pytest.approx(plain, rel=LOSS)
    without = losses(bench, WHOLE, CHOSEN)[:-1]
    assert abs(found[-1] - without[-1]) > 100 * LOSS * found[-1]


def test_lora_plus_has_the_groups_of_peft_for_magnitudes_too() -> None:
    """DoRA's have one dimension, and peft's own optimizer has them learn as B does."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 8}
    base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    config = LoraConfig(r=2, use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=4.0)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    ours = make_optimizer(
        "adamw_torch", parameters, learning_rate=1e-3, weight_decay=0.0, loraplus_lr_ratio=4.0
    )
    rates = [
        {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (theirs, ours)
    ]
    assert rates[0] == rates[1] and set(rates[1].values()) == {1e-3, 4e-3}


def test_noise_is_that_of_transformers(bench: Bench, tiny_model_folder: Path) -> None:
    plain = plain_losses(tiny_model_folder, bench, "all-linear", noise=5.0)
    found = losses(bench, WHOLE.model_copy(update={"neftune_noise_alpha": 5.0}), CHOSEN)
    assert found[:-1] == pytest.approx(plain, rel=LOSS)


def test_there_is_no_noise_in_a_validation_nor_in_the_next_training(bench: Bench) -> None:
    still = replace(CHOSEN, learning_rate=1e-12)
    before = losses(bench, SETTINGS, still)
    noisy = losses(bench, SETTINGS, replace(still, neftune_noise_alpha=5.0))
    assert all(abs(a - b) > 1e-4 for a, b in zip(noisy[:-1], before[:-1], strict=True))
    assert noisy[-1] == pytest.approx(before[-1], rel=LOSS)
    assert losses(bench, SETTINGS, still) == before


def test_max_steps_is_a_length_as_epochs_are(bench: Bench) -> None:
    """There are 8 steps in these two epochs; more read the rows again, in the order of epochs."""
    as_long = SETTINGS.model_copy(update={"max_steps": 8})
    assert losses(bench, as_long, CHOSEN) == losses(bench, SETTINGS, CHOSEN)
    constant = SETTINGS.model_copy(update={"warmup": 0.0, "schedule": "constant"})
    longer = losses(bench, constant.model_copy(update={"max_steps": 11}), CHOSEN)
    assert len(longer) == 11 + 1
    assert longer[:8] == losses(bench, constant, CHOSEN)[:8]


@given(
    n_samples=strategies.integers(1, 10**7),
    effective_batch=strategies.integers(1, 10**4),
    max_steps=strategies.integers(1, 10**6),
)
def test_max_steps_are_as_many(n_samples: int, effective_batch: int, max_steps: int) -> None:
    settings = SETTINGS.model_copy(update={"max_steps": max_steps})
    epochs = epochs_of(settings, n_samples, effective_batch)
    assert count_steps(n_samples, effective_batch, epochs) == max_steps


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adafactor"},
        {"optimizer": "sgd"},
        {"loraplus_lr_ratio": 4.0, "neftune_noise_alpha": 5.0},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora", "max_steps": 7},
        {"gradient_checkpointing": True},
        {"padding_free": True},
    ],
    ids=str,
)
def test_cut_off_it_goes_on_to_the_bit(
    bench: Bench, tmp_path: Path, changed: dict[str, object]
) -> None:
    settings = SETTINGS.model_copy(update=changed)
    chosen = replace(CHOSEN, dropout=0.2)
    whole = losses(bench, settings, chosen)
    parts = made_with(bench, settings, chosen, base_fingerprint(bench.base))
    checkpoint = Checkpoint(tmp_path / "checkpoint", parts)
    before = fingerprint(bench.base)
    first, second = (Learner(bench, settings, chosen) for _ in range(2))
    next(iter(train(first, checkpoint)))  # and no further
    release(bench, bench.base)
    assert fingerprint(bench.base) == before
    for _ in train(second, checkpoint):
        pass
    release(bench, bench.base)
    assert second.resumed_at > 0
    assert [*second.losses, second.validations[-1].loss] == whole
