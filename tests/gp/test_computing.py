"""What surrounds a computation of the model: its threads, and whose they are afterwards."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import multiprocessing
from threading import Event
from threading import Thread
from typing import Any
import warnings

import optuna
import pytest
import scipy.linalg  # noqa: F401  # its BLAS is one of those that a user has told
from threadpoolctl import threadpool_info
from threadpoolctl import threadpool_limits
import torch

from optuna_partition import BaMSOOSampler
from optuna_partition import BoundPruner
from optuna_partition._gp.computing import computing
from optuna_partition._rules.belief import BeliefFailed


_USERS = 3  # threads; nobody's default


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Torch and the BLAS have as many threads as a user has told them."""
    before = torch.get_num_threads()
    torch.set_num_threads(_USERS)
    with threadpool_limits(limits=_USERS, user_api="blas"):
        yield
    torch.set_num_threads(before)


def blas() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def in_a_thread(what: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = Thread(target=lambda: found.append(what()))
    thread.start()
    thread.join()
    return found[0]


def bowl(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    for step in range(1, 4):
        trial.report((x - 0.3) ** 2 + y + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return (x - 0.3) ** 2 + y


def test_it_has_one_thread_inside_and_the_user_s_after() -> None:
    with computing("cpu"):
        assert torch.get_num_threads() == 1 and blas() == {1}
    assert torch.get_num_threads() == _USERS and blas() == {_USERS}


def test_one_within_another_is_one() -> None:
    with computing("cpu"), computing("cpu"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == _USERS and blas() == {_USERS}


def test_what_fails_gives_the_threads_back() -> None:
    with pytest.raises(BeliefFailed), computing("cpu"):
        raise RuntimeError("no such matrix")
    assert torch.get_num_threads() == _USERS and blas() == {_USERS}


def test_a_thread_that_first_uses_torch_meanwhile_has_the_user_s() -> None:
    with computing("cpu"):
        assert in_a_thread(torch.get_num_threads) == _USERS


def test_each_thread_has_its_own_back() -> None:
    def other() -> int:
        torch.set_num_threads(2)
        with computing("cpu"):
            pass
        return torch.get_num_threads()

    with computing("cpu"):
        pass
    assert in_a_thread(other) == 2


def test_searches_in_threads_leave_everything_as_it_was() -> None:
    """Torch's and the BLAS' threads, and what Python does with warnings."""
    optuna.create_study(sampler=BaMSOOSampler()).optimize(bowl, n_trials=8)  # imports have filters
    filters, shows = list(warnings.filters), warnings.showwarning
    seen = set()

    def objective(trial: optuna.Trial) -> float:
        seen.add(torch.get_num_threads())
        return bowl(trial)

    study = optuna.create_study(sampler=BaMSOOSampler(), pruner=BoundPruner())
    study.optimize(objective, n_trials=15, n_jobs=3)
    assert seen == {_USERS}
    assert torch.get_num_threads() == _USERS and blas() == {_USERS}
    assert (list(warnings.filters), warnings.showwarning) == (filters, shows)


def test_a_child_that_is_forked_meanwhile_can_compute() -> None:
    """Whoever computes is not in the child."""
    inside, over = Event(), Event()

    def work() -> None:
        with computing("cpu"):
            inside.set()
            over.wait(60)

    thread = Thread(target=work)
    thread.start()
    inside.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 3.12, about threads and forks
        child = multiprocessing.get_context("fork").Process(target=_compute)
        child.start()
    child.join(60)
    over.set()
    thread.join()
    assert child.exitcode == 0


def _compute() -> None:
    with computing("cpu"):
        assert torch.get_num_threads() == 1
