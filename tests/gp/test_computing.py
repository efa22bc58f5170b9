"""What surrounds a computation of the model: its threads, and whose they are afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest
import torch

from optuna_partition import BaMSOOSampler
from optuna_partition._gp.computing import computing
from optuna_partition._rules.belief import BeliefFailed


_USERS = 3  # threads; nobody's default


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Torch has as many threads as a user has told it."""
    before = torch.get_num_threads()
    torch.set_num_threads(_USERS)
    yield
    torch.set_num_threads(before)


def test_it_has_one_thread_inside_and_the_user_s_after() -> None:
    with computing("cpu"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == _USERS


def test_what_fails_gives_the_threads_back() -> None:
    with pytest.raises(BeliefFailed), computing("cpu"):
        raise RuntimeError("no such matrix")
    assert torch.get_num_threads() == _USERS


def test_a_search_leaves_the_objective_its_threads() -> None:
    seen = []

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        seen.append(torch.get_num_threads())
        return (x - 0.3) ** 2

    optuna.create_study(sampler=BaMSOOSampler()).optimize(objective, n_trials=8)
    assert set(seen) == {_USERS}
