"""Exact geometry: cells tile their parent and share its centre with one child."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest
from strategies import axes
from strategies import grid_axes

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Grid
from optuna_partition._core.axes import Interval
from optuna_partition._core.axes import LogGrid
from optuna_partition._core.cells import Cell


@st.composite
def axis_and_interval(draw: st.DrawFn, kinds: st.SearchStrategy[Axis]) -> tuple[Axis, Interval]:
    """An axis and an interval that some cuts of it lead to."""
    axis = draw(kinds)
    interval = axis.whole()
    for part in draw(st.lists(st.integers(0, 2), max_size=6)):
        parts = axis.cut(interval)
        if parts:
            interval = parts[min(part, len(parts) - 1)]
    return axis, interval


@st.composite
def space_and_cell(draw: st.DrawFn) -> tuple[list[Axis], Cell]:
    found = draw(st.lists(axes, min_size=1, max_size=4))
    cell = cells.root(found)
    for part in draw(st.lists(st.integers(0, 2), max_size=12)):
        i = cells.longest_axis(found, cell)
        if i is None:
            break
        parts = cells.children(found, cell, i)
        cell = parts[min(part, len(parts) - 1)]
    return found, cell


@given(axis_and_interval(axes))
def test_exactly_one_part_keeps_the_centre_as_its_own(found: tuple[Axis, Interval]) -> None:
    axis, interval = found
    parts = axis.cut(interval)
    keeps = [part for part in parts if axis.centre(part) == axis.centre(interval)]
    holding = [part for part in parts if axis.holds(part, axis.centre(interval))]
    assert keeps == holding
    assert keeps == ([parts[(len(parts) - 1) // 2]] if parts else [])


@given(axis_and_interval(grid_axes))
def test_parts_of_a_grid_interval_tile_it(found: tuple[Axis, Interval]) -> None:
    axis, (first, last) = found
    parts = axis.cut((first, last))
    if first == last:
        assert parts == ()
        return
    assert parts[0][0] == first and parts[-1][1] == last
    assert all(left[1] + 1 == right[0] for left, right in pairwise(parts))
    assert all(a <= b for a, b in parts)


@given(st.builds(Grid, st.integers(3, 500)))
def test_blocks_of_a_grid_are_near_equal(axis: Grid) -> None:
    lengths = [b - a + 1 for a, b in axis.cut(axis.whole())]
    assert len(lengths) == 3 and max(lengths) - min(lengths) <= 1


@given(st.integers(1, 20), st.integers(200, 10_000))
def test_blocks_of_a_log_grid_are_near_equal_in_the_logarithm(low: int, times: int) -> None:
    axis = LogGrid(low, low * times)
    sides = [float(axis.side(part)) for part in axis.cut(axis.whole())]
    # one integer more or less moves a side by at most its share of the logarithm at the low end
    assert max(sides) - min(sides) < 0.35
    assert sides[2] == pytest.approx(1 / 3, abs=0.08)


@given(axis_and_interval(axes), st.fractions(0, 1), st.data())
def test_one_part_holds_any_coordinate(
    found: tuple[Axis, Interval], share: Fraction, data: Any
) -> None:
    axis, interval = found
    if isinstance(axis, Continuous):
        level, index = interval
        x = (index + share) / Fraction(3**level)
        inside = axis.holds(interval, x)  # the right end belongs to the next interval
    else:
        x = data.draw(st.integers(*interval))
        inside = True
    parts = axis.cut(interval)
    assert sum(axis.holds(part, x) for part in parts) == (1 if parts and inside else 0)


def test_the_end_of_a_continuous_axis_belongs_to_its_last_part() -> None:
    axis = Continuous(5)
    assert [axis.holds((2, i), Fraction(1)) for i in range(9)] == [False] * 8 + [True]


@given(st.lists(axes, min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=10))
def test_depth_counts_the_cuts(found: list[Axis], parts: list[int]) -> None:
    cell, cuts = cells.root(found), 0
    for part in parts:
        i = cells.longest_axis(found, cell)
        if i is not None:
            inside = cells.children(found, cell, i)
            cell, cuts = inside[min(part, len(inside) - 1)], cuts + 1
    assert cells.depth(found, cell) == cuts


@given(space_and_cell())
def test_names_round_trip(found: tuple[list[Axis], Cell]) -> None:
    _, cell = found
    assert cells.parse(cells.name(cell)) == cell


@given(space_and_cell())
def test_the_longest_side_is_cut_the_lowest_axis_on_ties(found: tuple[list[Axis], Cell]) -> None:
    space, cell = found
    chosen = cells.longest_axis(space, cell)
    divisible = [i for i, axis in enumerate(space) if axis.cut(cell[i])]
    if not divisible:
        assert chosen is None
        return
    sides = {i: space[i].side(cell[i]) for i in divisible}
    assert chosen == min(i for i in divisible if sides[i] == max(sides.values()))


@given(space_and_cell())
def test_sides_in_pieces_of_the_axes_are_the_sides(found: tuple[list[Axis], Cell]) -> None:
    space, cell = found
    shares = [axis.side(i) if axis.cut(i) else 0 for axis, i in zip(space, cell, strict=True)]
    assert [Fraction(side, cells.unit(space)) for side in cells.sides(space, cell)] == shares


@given(space_and_cell())
def test_a_cell_is_near_itself_and_not_twice_as_far(found: tuple[list[Axis], Cell]) -> None:
    space, cell = found
    assert cells.near(space, cell, cells.centre(space, cell))


def test_near_is_the_cell_enlarged_twice() -> None:
    axis = Continuous(5)
    interval = (1, 1)  # [1/3, 2/3], enlarged [1/6, 5/6]
    assert axis.near(interval, Fraction(1, 6)) and axis.near(interval, Fraction(5, 6))
    assert not axis.near(interval, Fraction(1, 6) - Fraction(1, 10**9))
    grid = Grid(9)  # block 3..5, enlarged 1..7
    assert [x for x in range(9) if grid.near((3, 5), x)] == [1, 2, 3, 4, 5, 6, 7]
    log = LogGrid(1, 1000)  # 10..100 enlarged by sqrt(10) on either side: 3.16..316
    assert [x for x in (3, 4, 316, 317) if log.near((10, 100), x)] == [4, 316]


@given(space_and_cell())
def test_equal_points_have_equal_names(found: tuple[list[Axis], Cell]) -> None:
    space, cell = found
    i = cells.longest_axis(space, cell)
    if i is None:
        return
    point = cells.centre(space, cell)
    same = [c for c in cells.children(space, cell, i) if cells.centre(space, c) == point]
    assert [cells.point_name(cells.centre(space, c)) for c in same] == [cells.point_name(point)]
