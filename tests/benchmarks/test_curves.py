"""The benchmarks that count to a target or along a published curve, against a textbook's SOO."""

from __future__ import annotations

from itertools import islice
import math

import pytest
from textbook import soo as textbook_soo

from benchmarks import parallel
from benchmarks import published
from benchmarks.compare import peers
from benchmarks.compare.families import find
from benchmarks.compare.families.smooth import FORMULAS


def test_our_curve_is_the_textbook_s() -> None:
    formula = FORMULAS["branin"]

    def branin(unit: tuple[float, ...]) -> float:
        ends = zip(unit, formula.box, strict=True)
        return formula.f([low + u * (high - low) for u, (low, high) in ends])

    values = [branin(point) for point in islice(textbook_soo(branin, 2), 50)]
    expected = [math.log10(min(values[:n]) - formula.least) for n in (10, 50)]
    assert published.distances("branin", "soo", (10, 50)) == pytest.approx(expected)


@pytest.mark.parametrize("name", published.CURVES)
def test_a_published_curve_has_a_value_at_each_place(name: str) -> None:
    curve = published.CURVES[name]
    assert len(curve.at) == len(curve.bamsoo) == len(curve.soo)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_target_is_reached_when_its_value_is_told(workers: int) -> None:
    instance = find("smooth", "branin", 0)

    def to(target: float) -> parallel.Run:
        return parallel.simulate(instance, peers.soo(instance, 0), workers, 60, target, seed=0)

    assert to(math.inf).evaluations == 1
    assert to(-math.inf).evaluations is None
    near, nearer = to(instance.least + 1.0), to(instance.least + 0.1)
    assert near.evaluations and nearer.evaluations and near.time and nearer.time
    assert near.evaluations <= nearer.evaluations
    assert near.time <= nearer.time
