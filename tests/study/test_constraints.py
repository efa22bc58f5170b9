"""Constraints are not used, and that is told."""

from __future__ import annotations

from collections.abc import Callable
import logging
import pickle

from bowl import SPACE
import optuna
from optuna.samplers import BaseSampler
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said of constraints."""
    optuna.logging.enable_propagation()
    caplog.set_level(logging.WARNING)

    def texts() -> list[str]:
        return [text for text in caplog.messages if "constraints" in text]

    return texts


def constrained(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 2)
    if trial.number >= 2:
        trial.set_constraint("small", x - 1)
        trial.set_constraint("large", -x)
    return x


@pytest.mark.parametrize("make", [BaMSOOSampler, DIRECTSampler, NOMADSampler, SOOSampler])
def test_it_is_told_once_for_a_study(
    make: Callable[..., BaseSampler], heard: Callable[[], list[str]]
) -> None:
    sampler = make(search_space={"x": SPACE["x"]})
    first, second = (optuna.create_study(sampler=sampler) for _ in range(2))
    first.optimize(constrained, n_trials=2)
    assert heard() == []
    first.optimize(constrained, n_trials=3)
    (text,) = heard()
    assert f"`{type(sampler).__name__}` does not use constraints" in text
    assert "trial 2 has `small`, `large`" in text and "`optuna.samplers.GPSampler`" in text
    second.optimize(constrained, n_trials=5)
    assert len(heard()) == 2


def test_a_pickled_sampler_tells_anew_and_goes_on(heard: Callable[[], list[str]]) -> None:
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(constrained, n_trials=3)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(constrained, n_trials=3)
    assert len(heard()) == 2
