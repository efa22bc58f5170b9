"""Budgets as users write them."""

from __future__ import annotations

import pytest

from objectives.settings.budget import Budget
from objectives.settings.budget import read_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h", 10800),
        ("90m", 5400),
        ("45s", 45),
        ("1h30m", 5400),
        ("1.5 h", 5400),
        ("1d 1s", 86401),
    ],
)
def test_a_time(text: str, seconds: float) -> None:
    assert read_budget(text) == Budget(text, seconds=seconds)


@pytest.mark.parametrize("text", ["20trainings", "20 trainings", "20 training"])
def test_trainings(text: str) -> None:
    assert read_budget(text) == Budget(text, trainings=20)


@pytest.mark.parametrize(
    "text",
    ["", "3", "h", "-3h", "0s", "30m1h", "3 hours", "0 trainings", "1.5 trainings", "1h, 2h"],
)
def test_anything_else_is_none(text: str) -> None:
    assert read_budget(text) is None
