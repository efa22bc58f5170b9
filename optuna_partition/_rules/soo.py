"""The rule SOO (Munos 2011): one sweep over depths; reads and opens a tree, keeps no state.

Notation (Wang et al. 2014, algorithm 2, turned to minimise):

===========  ==================================================================================
``h``        depth; ``cursor.depth`` is the next one the sweep looks at
``hmax``     ``cursor.limit``: the deepest cell when the sweep began; the range is fixed then
``vmax``     ``cursor.best``: the value of the cell the sweep opened last, None before any
``f(h, j)``  ``leaf.value``: the best value observed inside the j-th cell of depth h
===========  ==================================================================================

A sweep goes from depth 0 to hmax and opens the best leaf of a depth if it is strictly better than
every cell the sweep has opened; leaves are compared left to right, and the first wins a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import final

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.growth import Growth
from optuna_partition._core.node import Node
from optuna_partition._core.tree import Tree
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Partition
from optuna_partition._rules.rule import Rule


__all__ = ["Cursor", "SOO", "Swept"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sweep stands."""

    sweep: int
    depth: int
    limit: int
    best: float | None


@final
class Swept(Partition[Cursor]):
    """The space as sweeps cut it up; other rules wrap it."""

    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        opened: list[Cell] = []
        while (leaf := self.tree.ranking.first_empty()) is None:
            cell, cursor = self.open_next(cursor)
            if cell is None:
                return Choice(None, tuple(opened), cursor)
            opened.append(cell)
        return Choice(leaf.cell, tuple(opened), cursor)

    def open(self, cell: Cell, cursor: Cursor, place: int) -> None:
        node = self.reach(cell)
        if node is not None and not node.children and node.axis is not None:
            self.cut(node)

    def settle(self) -> None:
        """A cell is cut as it is opened: nothing is left to follow."""

    def open_next(self, cursor: Cursor) -> tuple[Cell | None, Cursor]:
        """Opens the cell that the sweep opens next, and says which; None when none is left.

        Where the sweep has nothing to open, the largest cell in flight is opened ahead of its
        value, so that no ask waits for a result.
        """
        swept = self.advance(cursor, self._best)
        leaf, cursor = swept or (self.tree.first_flying(), cursor)
        if leaf is None:
            return None, cursor
        self.cut(leaf)
        return leaf.cell, cursor

    def advance(
        self, cursor: Cursor, best: Callable[[int], tuple[float, Node] | None]
    ) -> tuple[Node, Cursor] | None:
        """The leaf that comes next in this sweep, else in a new one, and the cursor behind it.

        Args:
            cursor: Where the sweep stands; an empty sweep has not begun.
            best: The value and the leaf that stand for a depth.
        """
        fresh = Cursor(cursor.sweep + 1, depth=0, limit=self.tree.deepest, best=None)
        for sweep in (cursor, fresh):
            for depth in range(sweep.depth, sweep.limit + 1):
                found = best(depth)
                if found is not None and (sweep.best is None or found[0] < sweep.best):
                    value, leaf = found
                    return leaf, replace(sweep, depth=depth + 1, best=value)
        return None

    def _best(self, depth: int) -> tuple[float, Node] | None:
        leaf = self.tree.ranking.best(depth)
        return None if leaf is None else (leaf.value, leaf)

    def reach(self, cell: Cell) -> Node | None:
        """The node of a cell, opening every cell around it that is still closed.

        None where cuts do not lead to it: a conditional space has turned out to be another.
        """
        node = self.tree.node(cell) or self.tree.root
        while node.cell != cell:
            if node.axis is None or node.cell[node.axis] == cell[node.axis]:
                return None
            if not node.children:
                self.cut(node)
            node = self.tree.child(node, cells.centre(self.tree.axes, cell))
        return node

    def cut(self, leaf: Node) -> None:
        """Cuts a leaf; the children of the j-th cell of a depth are 3j, 3j + 1 and 3j + 2."""
        assert leaf.axis is not None, f"{leaf.cell} can not be cut"
        parts = len(self.tree.axes[leaf.axis].cut(leaf.cell[leaf.axis]))
        self.tree.cut(leaf, (leaf.axis, [(3 * leaf.order[0] + i,) for i in range(parts)]))


@final
@dataclass(frozen=True)
class SOO(Rule[Cursor]):
    """The rule; there is nothing to choose."""

    @property
    def name(self) -> str:
        return "soo"

    @classmethod
    def named(cls, name: str) -> SOO | None:
        """The rule, if that is its name."""
        return cls() if name == cls().name else None

    @property
    def start(self) -> Cursor:
        return Cursor(sweep=0, depth=0, limit=0, best=None)

    def plant(self, axes: Sequence[Axis], growth: Growth | None = None) -> Swept:
        return Swept(Tree(axes, _depth, growth))

    def join(self, a: Cursor, b: Cursor) -> Cursor:
        """Of two cursors at one place the widest range and the strictest value."""
        if (a.sweep, a.depth) != (b.sweep, b.depth):
            return max(a, b, key=lambda c: (c.sweep, c.depth))
        bests = [c.best for c in (a, b) if c.best is not None]
        return replace(a, limit=max(a.limit, b.limit), best=min(bests, default=None))

    def dump(self, cursor: Cursor) -> tuple[Any, ...]:
        return astuple(cursor)

    def load(self, *values: Any) -> Cursor:
        return Cursor(*values)


def _depth(node: Node) -> int:
    return node.depth
