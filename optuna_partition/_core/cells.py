"""Cells of the unit cube: one interval per axis; imports the standard library only.

A cell is the tuple of its intervals, a point the tuple of its coordinates; `axes` has what they
are on each kind of axis. A cell is evaluated at its centre. When it is cut, exactly one part keeps
that centre as its own, so a point evaluated once is never asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
import math
from typing import TypeAlias

from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.axes import Interval


__all__ = [
    "Cell",
    "Point",
    "at_centre",
    "centre",
    "children",
    "depth",
    "holds",
    "longest",
    "longest_axis",
    "name",
    "near",
    "outer_parts",
    "parse",
    "parse_point",
    "point_name",
    "root",
    "side",
    "sides",
    "unit",
]

Cell: TypeAlias = tuple[Interval, ...]
Point: TypeAlias = tuple[Coordinate, ...]


def root(axes: Sequence[Axis]) -> Cell:
    """The cell that covers the whole space."""
    return tuple(axis.whole() for axis in axes)


def centre(axes: Sequence[Axis], cell: Cell) -> Point:
    """The point at which a cell is evaluated."""
    return tuple(axis.centre(interval) for axis, interval in zip(axes, cell, strict=True))


def unit(axes: Sequence[Axis]) -> int:
    """Into how many pieces all axes are divided, so that sides are integers: cheap and exact."""
    return math.lcm(*(axis.grain() for axis in axes))


def side(axis: Axis, interval: Interval, unit: int) -> int:
    """The side of an interval in pieces of its axis; 0 if it cannot be cut."""
    if not axis.cut(interval):
        return 0
    share = axis.side(interval)
    return share.numerator * (unit // share.denominator)


def sides(axes: Sequence[Axis], cell: Cell) -> tuple[int, ...]:
    """The sides of a cell in pieces of its axes; 0 on an axis that cannot be cut."""
    pieces = unit(axes)
    return tuple(side(axis, interval, pieces) for axis, interval in zip(axes, cell, strict=True))


def longest(sides: Sequence[int]) -> int | None:
    """The lowest axis among those of the longest side that can still be cut, if any can."""
    most = max(sides)
    return sides.index(most) if most else None


def longest_axis(axes: Sequence[Axis], cell: Cell) -> int | None:
    """The axis of a cell that is cut next, if one can be."""
    return longest(sides(axes, cell))


def children(axes: Sequence[Axis], cell: Cell, i: int) -> tuple[Cell, ...]:
    """The parts of a cell cut on axis i, from left to right."""
    return tuple(cell[:i] + (part,) + cell[i + 1 :] for part in axes[i].cut(cell[i]))


def holds(axes: Sequence[Axis], cell: Cell, point: Point) -> bool:
    """Whether a point lies in a cell."""
    return all(a.holds(i, x) for a, i, x in zip(axes, cell, point, strict=True))


def near(axes: Sequence[Axis], cell: Cell, point: Point) -> bool:
    """Whether a point lies in the cell enlarged twice around its centre."""
    return all(a.near(i, x) for a, i, x in zip(axes, cell, point, strict=True))


def at_centre(axes: Sequence[Axis], cell: Cell, point: Point) -> bool:
    """Whether a point is a cell's centre, to a millionth of its sides: parameters are floats."""
    return all(a.at_centre(i, x) for a, i, x in zip(axes, cell, point, strict=True))


def outer_parts(axis: Axis, interval: Interval) -> tuple[Interval, ...]:
    """The parts of a cut whose centre is new, from right to left."""
    kept = axis.centre(interval)
    return tuple(part for part in reversed(axis.cut(interval)) if axis.centre(part) != kept)


def depth(axes: Sequence[Axis], cell: Cell) -> int:
    """How many cuts lead from the whole space to a cell."""
    return sum(_cuts(axis, interval) for axis, interval in zip(axes, cell, strict=True))


def _cuts(axis: Axis, interval: Interval) -> int:
    around, cuts = axis.whole(), 0
    while around != interval:
        centre = axis.centre(interval)
        around = next(part for part in axis.cut(around) if axis.holds(part, centre))
        cuts += 1
    return cuts


def name(cell: Cell) -> str:
    """The cell as text, ``"level.index first.last ..."``: what a trial carries."""
    return " ".join(f"{a}.{b}" for a, b in cell)


def parse(text: str) -> Cell:
    """The cell that `name` wrote."""
    intervals = (part.split(".") for part in text.split(" "))
    return tuple((int(a), int(b)) for a, b in intervals)


def point_name(point: Point) -> str:
    """The point as text; equal points have equal names: what a claim is made on."""
    return " ".join(str(x) for x in point)


def parse_point(text: str) -> Point:
    """The point that `point_name` wrote."""
    return tuple(Fraction(x) if "/" in x else int(x) for x in text.split(" "))
