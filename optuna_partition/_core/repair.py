"""What failed cells are worth, by the values around them; the standard library only."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import math

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Node


__all__ = ["FailedCells"]


class FailedCells:
    """The failed leaves of a tree, each with a value (Gablonsky 2001, 3.5: hidden constraints).

    With F the least value observed inside the cell enlarged twice around its centre, it is
    F + 1e-6 |F|; where nothing is observed there, one more than the worst value observed.
    Of infeasible trials no value counts: to the tree, constraints are as good as hidden.

    Args:
        axes: The axes of the space.
        known: The points with a value and their values, by trial number; the tree keeps it.
        rank: Is told of a leaf whenever it is given a value.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        known: Mapping[int, tuple[Point, float]],
        rank: Callable[[Node], None],
    ) -> None:
        self._axes, self._known, self._rank = axes, known, rank
        self._leaves: dict[Cell, Node] = {}
        self._around: dict[Cell, float] = {}  # failed cell -> the least value around it
        self._worst: float | None = None  # largest finite value observed

    def add(self, leaf: Node) -> None:
        """Gives a leaf a value, from now on until it is taken out."""
        self._leaves[leaf.cell] = leaf
        self._look_around(leaf)

    def discard(self, leaf: Node) -> None:
        """Takes a leaf out, if it is one of them."""
        self._leaves.pop(leaf.cell, None)
        self._around.pop(leaf.cell, None)

    def learn(self, point: Point, value: float) -> None:
        """Lets a new value reach the cells around it."""
        worst_moves = math.isfinite(value) and (self._worst is None or value > self._worst)
        if worst_moves:
            self._worst = value
        for leaf in self._leaves.values():
            least = self._around.get(leaf.cell)
            lower = least is None or value < least
            if lower and cells.near(self._axes, leaf.cell, point):
                self._around[leaf.cell] = value
                self._value(leaf)
            elif worst_moves and least is None:
                self._value(leaf)

    def look_again(self) -> None:
        """Gives all of them their values anew: one that was known is so no more."""
        for leaf in self._leaves.values():
            self._look_around(leaf)

    def _look_around(self, leaf: Node) -> None:
        """Looks for the least value around a leaf among all that are known."""
        known = self._known.values()
        around = [value for point, value in known if cells.near(self._axes, leaf.cell, point)]
        self._around.pop(leaf.cell, None)
        if around:
            self._around[leaf.cell] = min(around)
        self._value(leaf)

    def _value(self, leaf: Node) -> None:
        least = self._around.get(leaf.cell)
        if least is None:
            leaf.value = (self._worst or 0.0) + 1.0
        else:
            leaf.value = least + 1e-6 * abs(least) if math.isfinite(least) else least
        self._rank(leaf)
