"""Distributions and axes: round trips, native values, and cuts that stop where floats do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
from strategies import continuous_distributions
from strategies import distributions
from strategies import finite_distributions
from strategies import spaces

from optuna_partition._core import cells
from optuna_partition._core.axes import _cube_root
from optuna_partition._core.axes import Continuous
from optuna_partition._core.cells import Cell
from optuna_partition._space.space import Space


@st.composite
def space_and_cell(draw: st.DrawFn) -> tuple[Space, Cell]:
    space = Space(draw(spaces(distributions)))
    cell = cells.root(space.axes)
    for part in draw(st.lists(st.integers(0, 2), max_size=20)):
        i = cells.longest_axis(space.axes, cell)
        if i is None:
            break
        parts = cells.children(space.axes, cell, i)
        cell = parts[min(part, len(parts) - 1)]
    return space, cell


@given(space_and_cell())
def test_a_centre_round_trips_through_parameters(found: tuple[Space, Cell]) -> None:
    space, cell = found
    point = cells.centre(space.axes, cell)
    params = space.params(point)
    assert space.at(point, params)
    back = space.point(params)
    assert back is not None
    assert all(a.holds(i, x) for a, i, x in zip(space.axes, cell, back, strict=True))


@given(space_and_cell())
def test_values_are_native_and_inside_their_distribution(found: tuple[Space, Cell]) -> None:
    space, cell = found
    for name, value in space.params(cells.centre(space.axes, cell)).items():
        distribution = space.distributions[name]
        assert type(value) in (int, float, str)
        assert distribution._contains(distribution.to_internal_repr(value))


@given(st.lists(finite_distributions, min_size=1, max_size=1))
def test_a_finite_axis_reaches_every_value_of_its_distribution(
    found: list[BaseDistribution],
) -> None:
    (distribution,) = found
    space = Space({"x": distribution})
    (axis,) = space.axes
    first, last = axis.whole()
    values = [space.params((i,))["x"] for i in range(first, last + 1)]
    assert values == _all_values(distribution)


def _all_values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step or 1))
    assert isinstance(distribution, FloatDistribution) and distribution.step
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + i * distribution.step for i in range(count)]


@given(continuous_distributions, st.floats(0, 1, exclude_max=True))
def test_neighbouring_centres_of_the_finest_level_are_different_floats(
    distribution: BaseDistribution, share: float
) -> None:
    space = Space({"x": distribution})
    (axis,) = space.axes
    assert isinstance(axis, Continuous)
    index = min(int(share * 3**axis.levels), 3**axis.levels - 2) if axis.levels else 0
    neighbours = [(axis.levels, index), (axis.levels, index + 1)][: 2 if axis.levels else 1]
    values = [space.params((axis.centre(n),))["x"] for n in neighbours]
    assert values == sorted(set(values))


def test_a_log_axis_is_cut_in_the_logarithm() -> None:
    space = Space({"lr": FloatDistribution(1e-6, 1e-0, log=True)})
    thirds = [space.params(cells.centre(space.axes, ((1, i),)))["lr"] for i in range(3)]
    assert thirds == pytest.approx([1e-5, 1e-3, 1e-1])
    space = Space({"rank": IntDistribution(2, 64, log=True)})
    cell = cells.root(space.axes)
    parts = cells.children(space.axes, cell, 0)
    assert parts == (((2, 6),), ((7, 18),), ((19, 64),))
    assert [space.params(cells.centre(space.axes, p))["rank"] for p in (cell, *parts)] == [
        11,
        3,
        11,
        34,
    ]


@pytest.mark.parametrize(
    "params",
    [{}, {"x": 2.0}, {"x": "a"}, {"y": 0.5}],
    ids=["absent", "outside", "not a number", "another name"],
)
def test_parameters_that_are_not_in_the_space_lie_nowhere(params: dict[str, Any]) -> None:
    assert Space({"x": FloatDistribution(0, 1)}).point(params) is None


def test_an_infinite_width_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a finite float"):
        Space({"x": FloatDistribution(-1.7e308, 1.7e308)})


def test_another_order_is_another_space() -> None:
    a, b = FloatDistribution(0, 1), IntDistribution(0, 5)
    assert Space({"a": a, "b": b}).fingerprint != Space({"b": b, "a": a}).fingerprint


@given(space_and_cell())
def test_the_unit_coordinates_of_a_centre_lie_in_its_cell(found: tuple[Space, Cell]) -> None:
    space, cell = found
    units = space.unit(space.params(cells.centre(space.axes, cell)))
    assert units is not None
    for axis, interval, unit in zip(space.axes, cell, units.values(), strict=True):
        low, high = axis.ends(interval)
        assert 0 <= low <= unit <= high <= 1 + 1e-12


def test_a_cube_root_is_exact_however_large() -> None:
    numbers = [*range(1000), *(root**3 + d for root in (7, 10**8, 10**25 + 1) for d in (-1, 0, 1))]
    for n in numbers:
        assert _cube_root(n) ** 3 <= n < (_cube_root(n) + 1) ** 3
