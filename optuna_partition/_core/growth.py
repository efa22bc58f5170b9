"""How a tree grows: the cell it begins with and the parts of a cut; the standard library only.

In a conditional space an axis sleeps in a cell that no trial could move along it: its interval is
a tiny one in the middle of the axis, which cannot be cut. A cut may wake axes in its parts. An
axis asleep has its middle for centre, and so has one that has just woken: waking moves no centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Protocol

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.axes import Interval
from optuna_partition._core.cells import Cell


__all__ = ["Decided", "Growth", "Whole", "asleep"]


class Growth(Protocol):
    """What a tree needs to know of its space beside the axes."""

    @property
    def root(self) -> Cell:
        """The cell that covers the space."""

    @property
    def size(self) -> float:
        """How many points the space has."""

    def parts(self, cell: Cell, axis: int) -> tuple[Cell, ...]:
        """The parts of a cell cut on an axis, from left to right."""


class Decided(Protocol):
    """Some coordinates of a point, by the axes of the cell it is to be in."""

    def on(self, cell: Cell) -> Mapping[int, Coordinate] | None:
        """Those on the axes that are awake in a cell; None if no part of it can have them all."""

    def is_whole(self, cell: Cell) -> bool:
        """Whether these are all, for a cell that can have them."""


class Whole:
    """A space in which every trial moves along every axis.

    Args:
        axes: Of the space.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._axes = axes
        self.root = cells.root(axes)
        self.size = math.prod(axis.size() for axis in axes)

    def parts(self, cell: Cell, axis: int) -> tuple[Cell, ...]:
        return cells.children(self._axes, cell, axis)


def asleep(axis: Axis) -> Interval:
    """The interval of an axis that sleeps: the last one around its middle."""
    interval = axis.whole()
    middle = axis.centre(interval)
    while parts := axis.cut(interval):
        interval = next(part for part in parts if axis.holds(part, middle))
    return interval
