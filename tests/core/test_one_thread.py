"""The BLAS has one thread inside, and afterwards as many as before, whoever else was inside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from threadpoolctl import threadpool_info
from threadpoolctl import threadpool_limits

from optuna_partition._rules.curves import Curve
from optuna_partition._rules.curves import Curves
from optuna_partition._threads import BLAS


_USERS = 3  # threads; nobody's default


def threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def users() -> Iterator[None]:
    """The BLAS has as many threads as a user has told it."""
    with threadpool_limits(limits=_USERS, user_api="blas"):
        yield


def test_there_is_one_inside_and_the_user_s_after() -> None:
    with BLAS:
        assert threads() == {1}
    assert threads() == {_USERS}


def test_an_error_gives_them_back() -> None:
    @BLAS
    def singular() -> None:
        np.linalg.inv(np.zeros((2, 2)))

    with pytest.raises(np.linalg.LinAlgError):
        singular()
    assert threads() == {_USERS}


def test_the_second_inside_does_not_take_one_for_the_usual() -> None:
    both, first_is_out = Barrier(2, timeout=60), Barrier(2, timeout=60)

    def work(is_first: bool) -> None:
        with BLAS:
            both.wait()
            if not is_first:
                first_is_out.wait()
        if is_first:
            first_is_out.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (True, False)))
    assert threads() == {_USERS}


def test_forecasts_of_curves_are_made_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    inv = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda a: seen.append(threads()) or inv(a))
    steps = np.arange(1.0, 4)
    known = Curves.of([Curve(np.array([u]), steps, u + 1 / steps, u) for u in (0.1, 0.4, 0.9)])
    assert known is not None and seen
    assert all(each == {1} for each in seen)
