"""Packs whose adapters learn in ways of their own: each as it does alone."""

from __future__ import annotations

from dataclasses import replace

from plain_loop import CHOSEN
from plain_loop import SETTINGS as TWO_EPOCHS
import pytest
from to_the_end import losses
from to_the_end import of
from to_the_end import trained_pack

from objectives.model.bench import Bench
from objectives.settings.search.space import Hyperparameters


SETTINGS = TWO_EPOCHS.model_copy(update={"epochs": 1.0})
CLOSE = 1e-5  # as objectives/pack/packed.py has it, in nats

WAYS = {
    "schedule": {"schedule": "linear", "warmup": 0.6},
    "clip": {"clip": 1e-3},
    "adafactor": {"optimizer": "adafactor"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5},
    "loraplus": {"loraplus_lr_ratio": 8.0, "init_lora_weights": "gaussian"},
    "rslora": {"rslora": True, "targets": "attention"},
    "noise": {"neftune_noise_alpha": 5.0},
    "noise and dropout": {"neftune_noise_alpha": 9.0, "dropout": 0.2, "effective_batch": 7},
}


def of_way(way: str) -> Hyperparameters:
    return replace(CHOSEN, **WAYS[way])


@pytest.fixture(scope="module")
def alone(loaded: Bench) -> dict[str, list[float]]:
    return {way: losses(loaded, SETTINGS, of_way(way)) for way in WAYS}


@pytest.mark.parametrize("tokens", [1, 10**9], ids=["each alone", "at once"])
def test_each_learns_in_its_own_way(
    bench: Bench, alone: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr("objectives.pack.packed.CPU_TOKENS", tokens)
    together = trained_pack(bench, SETTINGS, [of_way(way) for way in WAYS])
    plain = losses(bench, SETTINGS, CHOSEN)
    for way, learner in zip(WAYS, together, strict=True):
        assert of(learner) == pytest.approx(alone[way], abs=CLOSE, rel=0), way
        assert of(learner) != pytest.approx(plain, abs=10 * CLOSE, rel=0), "the way counts"


def test_ways_of_all_are_those_of_each(bench: Bench) -> None:
    """Settings of `[training]`, where none is searched."""
    ways = {"neftune_noise_alpha": 5.0, "loraplus_lr_ratio": 4.0, "max_steps": 5}
    settings = SETTINGS.model_copy(update=ways)
    both = [CHOSEN, replace(CHOSEN, rank=2, effective_batch=5)]
    for chosen, learner in zip(both, trained_pack(bench, settings, both), strict=True):
        expected = losses(bench, settings, chosen)
        assert of(learner) == pytest.approx(expected, abs=CLOSE, rel=0) and len(expected) == 6
