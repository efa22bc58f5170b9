"""Points of trials that begin before the space is known."""

from __future__ import annotations

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution

from optuna_partition._space.early import first_value


def test_no_two_of_many_axes_go_together() -> None:
    suggested: dict[str, BaseDistribution] = {}
    places = []
    for axis in range(40):
        places.append(tuple(first_value(n, suggested, FloatDistribution(0, 1)) for n in range(5)))
        suggested[f"x{axis}"] = FloatDistribution(0, 1)
    assert len(set(places)) == 40
    assert {place[0] for place in places} == {0.5}
