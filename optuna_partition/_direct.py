"""The rule DIRECT (Jones 1993, Gablonsky 2001): reads and opens a tree, keeps no state.

Notation (Gablonsky, "DIRECT version 2.0 user guide", 2001, section 3):

==============  ===============================================================================
``f_j, d_j``    value and size of cell j; size is half the diagonal, or the longest side where
                the search is locally biased (DIRECT-L, Gablonsky and Kelley 2001)
``f_min``       the least value observed
``eps``         ``epsilon``: a cell must promise ``eps |f_min|`` below ``f_min``
``I``           the axes on which a cell is longest; it is sampled at c + delta e_i and
                c - delta e_i for each, delta a third of its side
``w_i``         the lesser value of the two samples on axis i
==============  ===============================================================================

An iteration opens the potentially optimal cells: those on the lower right hull of (d, f). An
opened cell is cut on all its longest axes in the order of w_i, so that the best samples get the
largest cells; it waits, opening, until its samples have values. On axes of a grid a side is the
share of the axis still open, and an axis that cannot be cut has none.

`scipy.optimize.direct` also divides cells above the hull: a statement commented out in its C code
leaves the rejection to a switch for logging (DIRsubrout.c, since SciPy 1.9). It is not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
import math
import re

from optuna_partition import _cells
from optuna_partition._axes import Axis
from optuna_partition._cells import Cell
from optuna_partition._node import Node
from optuna_partition._node import Opening
from optuna_partition._node import Order
from optuna_partition._node import Reading
from optuna_partition._node import State
from optuna_partition._rule import Choice
from optuna_partition._rule import Rule
from optuna_partition._tree import Tree


__all__ = ["Cursor", "direct", "direct_named"]

_TIE = 1e-13  # values this close to the best of their size are as good (Gablonsky's code)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many asks have begun an iteration."""

    iteration: int


def direct(locally_biased: bool, epsilon: float) -> Rule[Cursor]:
    """The rule with its options."""
    return Rule(
        name=f"direct locally_biased={locally_biased} epsilon={epsilon!r}",
        plant=partial(_plant, locally_biased),
        start=Cursor(0),
        join=_join,
        choose=partial(_choose, locally_biased, epsilon),
        open=_open,
        settle=_settle,
        dump=astuple,
        load=Cursor,
    )


def direct_named(name: str) -> Rule[Cursor] | None:
    """The rule of a name, if it is DIRECT's."""
    options = re.fullmatch(r"direct locally_biased=(True|False) epsilon=(\S+)", name)
    return options and direct(options[1] == "True", float(options[2]))


def _join(a: Cursor, b: Cursor) -> Cursor:
    return max(a, b, key=lambda cursor: cursor.iteration)


# ---- sizes ----


def _plant(locally_biased: bool, axes: Sequence[Axis]) -> Tree:
    return Tree(axes, group=partial(_size, locally_biased, axes))


def _sides(axes: Sequence[Axis], cell: Cell) -> list[Fraction]:
    """The sides of a cell; 0 on an axis that cannot be cut."""
    pairs = zip(axes, cell, strict=True)
    return [axis.side(interval) if axis.cut(interval) else Fraction(0) for axis, interval in pairs]


def _size(locally_biased: bool, axes: Sequence[Axis], node: Node) -> float:
    """The size that groups cells: rounded, since the hull divides by differences of sizes."""
    sides = _sides(axes, node.cell)
    return float(max(sides)) if locally_biased else 0.5 * math.sqrt(sum(s * s for s in sides))


# ---- one ask ----


def _choose(locally_biased: bool, epsilon: float, tree: Tree, cursor: Cursor) -> Choice[Cursor]:
    opened: list[Cell] = []
    while (cell := _wanted(tree)) is None:
        best = _potentially_optimal(tree, locally_biased, epsilon)
        if not best:
            cell = _ahead(tree)
            break
        for leaf in best:
            tree.start_opening(leaf, (cursor.iteration + 1, len(opened)))
            opened.append(leaf.cell)
        _settle(tree)
    return Choice(cell, tuple(opened), Cursor(cursor.iteration + bool(opened)))


def _wanted(tree: Tree) -> Cell | None:
    """The next cell to evaluate that an opened cell waits for."""
    if (leaf := tree.first_empty()) is not None:
        return leaf.cell
    wanting = [opening for opening in tree.opening.values() if opening.missing]
    if not wanting:
        return None
    return min(wanting, key=lambda opening: (opening.stamp, opening.node.cell)).missing[0]


def _ahead(tree: Tree) -> Cell | None:
    """A cell inside the best one in flight, so that no ask waits for a result.

    Breadth first over the thirds of thirds: those are the samples that DIRECT will want there
    once the values are in. The tree stays as it is. In a finite space the cells in flight may
    have no point left; then inside the best of the others.
    """

    def rank(leaf: Node) -> tuple[bool, float, int, Order, Cell]:
        waits = leaf.state in (State.OPENING, State.FLYING)
        return not waits, _at_centre(tree, leaf), leaf.depth, leaf.order, leaf.cell

    for leaf in sorted(tree.leaves(), key=rank):
        queue = [leaf.cell]
        for cell in queue:
            axis = _cells.longest_axis(tree.axes, cell)
            for part in () if axis is None else _cells.children(tree.axes, cell, axis):
                if not tree.has(_cells.centre(tree.axes, part)):
                    return part
                queue.append(part)
    return None


def _at_centre(tree: Tree, node: Node) -> float:
    """The value at a cell's own centre, infinite while there is none."""
    reading = _reading(tree, node, node.cell)
    return reading if isinstance(reading, float) else math.inf


# ---- the hull ----


def _potentially_optimal(tree: Tree, locally_biased: bool, epsilon: float) -> list[Node]:
    """The cells to open, largest first; then, unless locally biased, those tied with them."""
    best = _best_by_size(tree, locally_biased)
    d = sorted(best, reverse=True)
    f = _finite([best[size][0] for size in d])
    optimal = [best[d[j]][1] for j in _hull(d, f, _least(tree, f), epsilon)]
    kept = [node for node in optimal if node.state is not State.OPENING]
    if locally_biased:
        return kept
    return kept + [leaf for head in kept for leaf in tree.tied(head, _TIE)]


def _best_by_size(tree: Tree, locally_biased: bool) -> dict[float, tuple[float, Node]]:
    """The best value and cell of each size.

    A cell that waits for samples still counts, at its centre's value: while the best cells are in
    flight, those they keep off the hull must not be opened in their place. With one worker no
    cell waits when an iteration begins.
    """
    best: dict[float, tuple[float, Node]] = {}
    for size in tree.groups():
        leaf = tree.best(size)
        assert leaf is not None and isinstance(size, float)
        best[size] = (leaf.value, leaf)
    for opening in tree.opening.values():
        value = _at_centre(tree, opening.node)
        size = _size(locally_biased, tree.axes, opening.node)
        if math.isfinite(value) and (size not in best or value <= best[size][0]):
            best[size] = (value, opening.node)
    return best


def _least(tree: Tree, f: list[float]) -> float:
    known = tree.incumbent
    return known if known is not None and math.isfinite(known) else min(f, default=0.0)


def _finite(values: list[float]) -> list[float]:
    """Infinite values just beyond the finite ones: slopes need numbers."""
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    return [min(max(v, min(finite) - 1), max(finite) + 1) for v in values]


def _hull(d: list[float], f: list[float], least: float, epsilon: float) -> list[int]:
    """Which of the best cells by size, largest first, are potentially optimal (Jones, eq. 3-4)."""
    kept: list[int] = []
    for j in reversed(range(len(d))):
        larger = [(f[i] - f[j]) / (d[i] - d[j]) for i in range(j)]
        smaller = [(f[i] - f[j]) / (d[i] - d[j]) for i in kept]
        if any(slope <= 0 for slope in larger + smaller):
            continue
        steepest = min(larger, default=math.inf)
        if max(smaller, default=0.0) > steepest:
            continue
        if f[j] - steepest * d[j] > least - epsilon * abs(least):
            continue
        kept.append(j)
    return kept[::-1]


# ---- division ----


def _open(tree: Tree, cell: Cell, cursor: Cursor, place: int) -> None:
    """Opens a cell as an ask did; later, if the cells around it still wait for values."""
    node, stamp = tree.node(cell), (cursor.iteration, place)
    if node is None:
        tree.deferred[cell] = min(stamp, tree.deferred.get(cell, stamp))
    elif cell in tree.opening:
        tree.opening[cell].stamp = min(stamp, tree.opening[cell].stamp)
    elif not node.children:
        tree.start_opening(node, stamp)


def _settle(tree: Tree) -> None:
    """Cuts every opening cell whose samples all have values, and opens what waited for that."""
    while tree.touched or any(tree.node(cell) for cell in tree.deferred):
        for cell in [cell for cell in tree.deferred if tree.node(cell)]:
            _open(tree, cell, Cursor(tree.deferred[cell][0]), tree.deferred.pop(cell)[1])
        touched, tree.touched = tree.touched, set()
        for opening in [tree.opening[cell] for cell in touched if cell in tree.opening]:
            _look(tree, opening)


def _look(tree: Tree, opening: Opening) -> None:
    node = opening.node
    readings = {cell: _reading(tree, node, cell) for cell in _samples(tree, node)}
    opening.missing = tuple(cell for cell, reading in readings.items() if reading is None)
    if all(reading not in (None, Reading.FLYING) for reading in readings.values()):
        values = {c: r if isinstance(r, float) else math.inf for c, r in readings.items()}
        _divide(tree, opening, values)


def _longest(tree: Tree, node: Node) -> list[int]:
    sides = _sides(tree.axes, node.cell)
    return [i for i, side in enumerate(sides) if side == max(sides)]


def _samples(tree: Tree, node: Node) -> list[Cell]:
    """The cells whose centres are c + delta e_i, c - delta e_i, in the order of evaluation."""
    return [
        node.cell[:i] + (part,) + node.cell[i + 1 :]
        for i in _longest(tree, node)
        for part in _cells.outer_parts(tree.axes[i], node.cell[i])
    ]


def _reading(tree: Tree, node: Node, cell: Cell) -> float | Reading | None:
    """What is known at the centre of a cell inside a node."""
    found = [
        observation.reading
        for observation in node.observations.values()
        if _cells.at_centre(tree.axes, cell, observation.point)
    ]
    values = [float(reading) for reading in found if not isinstance(reading, Reading)]
    if values:
        return min(values)
    return Reading.FLYING if Reading.FLYING in found else next(iter(found), None)


def _divide(tree: Tree, opening: Opening, values: dict[Cell, float]) -> None:
    """Cuts a cell on its longest axes, the one with the best sample first."""
    node, axes = opening.node, _longest(tree, opening.node)
    pairs = {i: [c for c in values if c[i] != node.cell[i]] for i in axes}
    orders: dict[tuple[int, tuple[int, int]], Order] = {}
    for rank, i in enumerate(axes):
        better_first = sorted(pairs[i], key=lambda cell: values[cell])
        for k, cell in enumerate(better_first):
            orders[i, cell[i]] = (*opening.stamp, 2 * rank + k)
    by_sample = sorted(axes, key=lambda i: min(values[cell] for cell in pairs[i]))
    for k, i in enumerate(by_sample):
        middle = (*opening.stamp, 2 * len(axes) + k)  # behind all new ones, as it is put in last
        parts = tree.axes[i].cut(node.cell[i])
        children = tree.cut(node, i, [orders.get((i, part), middle) for part in parts])
        node = next(c for c in children if (i, c.cell[i]) not in orders)
