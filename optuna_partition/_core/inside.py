"""The cells inside a leaf, largest first: where there is still a point that nobody has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point


__all__ = ["Search"]


class Search:
    """Breadth first over the parts of a leaf, the parts of these, and so on.

    It goes on where it stopped, so it is right as long as no point that was taken becomes free.

    Args:
        axes: The axes of the space.
        parts: The parts of a cell cut on an axis.
        leaf: Where to search.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        parts: Callable[[Cell, int], tuple[Cell, ...]],
        leaf: Cell,
    ) -> None:
        self._axes, self._parts_of = axes, parts
        self._whole = deque([leaf])  # cells to be cut
        self._parts: deque[Cell] = deque()  # cells to be looked at

    def first(self, taken: Callable[[Point], bool]) -> Cell | None:
        """The first cell whose centre is not taken; None where all are."""
        while self._parts or self._whole:
            if not self._parts:
                self._parts.extend(self._cut(self._whole.popleft()))
                continue
            part = self._parts[0]
            if not taken(cells.centre(self._axes, part)):
                return part
            self._whole.append(self._parts.popleft())
        return None

    def _cut(self, cell: Cell) -> tuple[Cell, ...]:
        axis = cells.longest_axis(self._axes, cell)
        return () if axis is None else self._parts_of(cell, axis)
