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

from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from optuna_partition import _cells
from optuna_partition._axes import Axis
from optuna_partition._cells import Cell
from optuna_partition._node import Node
from optuna_partition._rule import Choice
from optuna_partition._rule import Rule
from optuna_partition._tree import Tree


__all__ = ["Cursor", "SOO"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sweep stands."""

    sweep: int
    depth: int
    limit: int
    best: float | None


@dataclass(slots=True)
class _Sweep:
    """A cursor on the move, and what it has opened."""

    tree: Tree
    cursor: Cursor
    opened: list[Cell] = field(default_factory=list)

    def open(self, leaf: Node) -> None:
        _cut(self.tree, leaf)
        self.opened.append(leaf.cell)


def _depth(node: Node) -> int:
    return node.depth


def _plant(axes: Sequence[Axis]) -> Tree:
    return Tree(axes, group=_depth)


def _cut(tree: Tree, leaf: Node) -> None:
    """Cuts a leaf; the children of the j-th cell of a depth are 3j, 3j + 1 and 3j + 2."""
    assert leaf.axis is not None, f"{leaf.cell} can not be cut"
    parts = len(tree.axes[leaf.axis].cut(leaf.cell[leaf.axis]))
    tree.cut(leaf, leaf.axis, [(3 * leaf.order[0] + i,) for i in range(parts)])


def _open(tree: Tree, cell: Cell, cursor: Cursor, place: int) -> None:
    """Opens a cell, and before it every cell around it that is still closed."""
    node = tree.node(cell) or tree.root
    while node.cell != cell:
        if not node.children:
            _cut(tree, node)
        node = tree.child(node, _cells.centre(tree.axes, cell))
    if not node.children:
        _cut(tree, node)


def _settle(tree: Tree) -> None:
    """A cell is cut as it is opened: nothing is left to follow."""


def _join(a: Cursor, b: Cursor) -> Cursor:
    """The later of two cursors; of two at one place the widest range and the strictest value."""
    if (a.sweep, a.depth) != (b.sweep, b.depth):
        return max(a, b, key=lambda c: (c.sweep, c.depth))
    bests = [c.best for c in (a, b) if c.best is not None]
    return replace(a, limit=max(a.limit, b.limit), best=min(bests, default=None))


def _choose(tree: Tree, cursor: Cursor) -> Choice[Cursor]:
    """Picks the next cell to evaluate, opening cells until there is one.

    Args:
        tree: What is known; opened cells are opened in it.
        cursor: Where the last ask left the sweep.
    """
    sweep = _Sweep(tree, cursor)
    while (leaf := tree.first_empty()) is None:
        if not (_open_next(sweep) or _open_ahead(sweep)):
            return Choice(None, tuple(sweep.opened), sweep.cursor)
    return Choice(leaf.cell, tuple(sweep.opened), sweep.cursor)


def _open_next(sweep: _Sweep) -> bool:
    """Opens what this sweep opens next, else the first of a new sweep; False if there is none."""
    if _open_in_range(sweep):
        return True
    cursor = sweep.cursor
    sweep.cursor = Cursor(cursor.sweep + 1, depth=0, limit=sweep.tree.deepest, best=None)
    if _open_in_range(sweep):
        return True
    sweep.cursor = cursor  # an empty sweep has not begun
    return False


def _open_in_range(sweep: _Sweep) -> bool:
    cursor = sweep.cursor
    for depth in range(cursor.depth, cursor.limit + 1):
        leaf = sweep.tree.best(depth)
        if leaf is not None and (cursor.best is None or leaf.value < cursor.best):
            sweep.open(leaf)
            sweep.cursor = replace(cursor, depth=depth + 1, best=leaf.value)
            return True
    return False


def _open_ahead(sweep: _Sweep) -> bool:
    """Opens the largest cell in flight ahead of its value, so that no ask waits for a result."""
    leaf = sweep.tree.first_flying()
    if leaf is None:
        return False
    sweep.open(leaf)
    return True


SOO: Rule[Cursor] = Rule(
    name="soo",
    plant=_plant,
    start=Cursor(sweep=0, depth=0, limit=0, best=None),
    join=_join,
    choose=_choose,
    open=_open,
    settle=_settle,
    dump=astuple,
    load=Cursor,
)
