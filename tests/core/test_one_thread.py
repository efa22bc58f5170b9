"""The BLAS has one thread inside, and afterwards as many as before, whoever else was inside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info
from threadpoolctl import threadpool_limits

from optuna_partition._rules.curves import Curve
from optuna_partition._rules.curves import Curves
from optuna_partition._threads import one_thread


_USERS = 3  # threads; nobody's default


def threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def users() -> Iterator[None]:
    """The BLAS has as many threads as a user has told it."""
    with threadpool_limits(limits=_USERS, user_api="blas"):
        yield


def test_there_is_one_inside_and_the_user_s_after() -> None:
    with one_thread():
        assert threads() == {1}
    assert threads() == {_USERS}


def test_an_error_gives_them_back() -> None:
    @one_thread()
    def singular() -> None:
        np.linalg.inv(np.zeros((2, 2)))

    with pytest.raises(np.linalg.LinAlgError):
        singular()
    assert threads() == {_USERS}


def test_one_within_another_is_one() -> None:
    with one_thread():
        with one_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {_USERS}


def test_the_second_waits_and_does_not_take_one_for_the_usual() -> None:
    inside, seen = Event(), []

    def second() -> None:
        inside.wait(60)
        with one_thread():
            seen.append("second")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        with one_thread():
            inside.set()
            time.sleep(0.2)  # enough for one that does not wait
            seen.append("first")
        waiting.result(60)
    assert seen == ["first", "second"]
    assert threads() == {_USERS}


def test_forecasts_of_curves_are_made_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    inv = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda a: seen.append(threads()) or inv(a))
    steps = np.arange(1.0, 4)
    known = Curves.of([Curve(np.array([u]), steps, u + 1 / steps, u) for u in (0.1, 0.4, 0.9)])
    assert known is not None and seen
    assert all(each == {1} for each in seen)
