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
from functools import partial
import math
import re

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Growth
from optuna_partition._core.node import Node
from optuna_partition._core.node import Opening
from optuna_partition._core.node import Order
from optuna_partition._core.node import Reading
from optuna_partition._core.node import Sample
from optuna_partition._core.node import State
from optuna_partition._core.tree import Tree
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Rule


__all__ = ["Cursor", "direct", "direct_named"]

_TIE = 1e-13  # values this close to the best of their size are as good (Gablonsky's code)
_CENTRE: Sample = (-1, (0, 0))  # stands for a cell's own centre among its samples


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


def _plant(locally_biased: bool, axes: Sequence[Axis], growth: Growth | None = None) -> Tree:
    return Tree(axes, partial(_size, locally_biased, cells.unit(axes)), growth)


def _size(locally_biased: bool, unit: int, node: Node) -> float:
    """The size that groups cells: rounded, since the hull divides by differences of sizes."""
    if locally_biased:
        return max(node.sides) / unit
    return 0.5 * math.sqrt(sum(side * side for side in node.sides) / unit**2)


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
    first = min(wanting, key=lambda opening: (opening.stamp, opening.node.cell))
    return _sampled(first.node, first.missing[0])


def _ahead(tree: Tree) -> Cell | None:
    """A cell inside the best one in flight, so that no ask waits for a result.

    Breadth first over the thirds of thirds: those are the samples that DIRECT will want there
    once the values are in. The tree stays as it is. In a finite space the cells in flight may
    have no point left; then inside the best of the others.
    """
    opening = {opening.node: opening.value for opening in tree.opening.values()}

    def rank(leaf: Node) -> tuple[float, int, Order, Cell]:
        return opening.get(leaf, math.inf), leaf.depth, leaf.order, leaf.cell

    for leaf in sorted([*opening, *tree.flying()], key=rank):
        if (cell := tree.first_free(leaf)) is not None:
            return cell
    return tree.best_free(partial(_at_centre, tree))


def _at_centre(tree: Tree, leaf: Node) -> float:
    """The value at a leaf's own centre, infinite while there is none."""
    return _value(_readings(tree, leaf, {}).get(_CENTRE, []))


# ---- the hull ----


def _potentially_optimal(tree: Tree, locally_biased: bool, epsilon: float) -> list[Node]:
    """The cells to open, largest first; then, unless locally biased, those tied with them."""
    best = _best_by_size(tree)
    d = sorted(best, reverse=True)
    f = _finite([best[size][0] for size in d])
    optimal = [best[d[j]][1] for j in _hull(d, f, _least(tree, f), epsilon)]
    kept = [node for node in optimal if node.state is not State.OPENING]
    if locally_biased:
        return kept
    return kept + [leaf for head in kept for leaf in tree.tied(head, _TIE)]


def _best_by_size(tree: Tree) -> dict[float, tuple[float, Node]]:
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
        if math.isfinite(opening.value):
            size = tree.group(opening.node)
            assert isinstance(size, float)
            if size not in best or opening.value <= best[size][0]:
                best[size] = (opening.value, opening.node)
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
        if any(f[i] <= f[j] for i in range(j)):
            continue
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
    """Sees what an opening cell waits for, and cuts it when that is nothing."""
    node = opening.node
    found = _readings(tree, node, opening.places)
    opening.value = _value(found.get(_CENTRE, []))
    readings = {sample: found.get(sample, []) for sample in _samples(tree, node)}
    opening.missing = tuple(sample for sample, said in readings.items() if not said)
    if all(said and not _is_flying(said) for said in readings.values()):
        _divide(tree, opening, {sample: _value(said) for sample, said in readings.items()})


def _value(readings: Sequence[float | Reading]) -> float:
    """The best of the values, infinite where there is none."""
    return min((r for r in readings if not isinstance(r, Reading)), default=math.inf)


def _is_flying(readings: Sequence[float | Reading]) -> bool:
    """Whether there is no value yet and one may come."""
    return Reading.FLYING in readings and all(isinstance(r, Reading) for r in readings)


def _longest(node: Node) -> list[int]:
    most = max(node.sides)
    return [i for i, side in enumerate(node.sides) if side == most]


def _samples(tree: Tree, node: Node) -> list[Sample]:
    """c + delta e_i, c - delta e_i, in the order of evaluation."""
    return [
        (i, part) for i in _longest(node) for part in cells.outer_parts(tree.axes[i], node.cell[i])
    ]


def _sampled(node: Node, sample: Sample) -> Cell:
    """The cell whose centre is the sample."""
    i, part = sample
    return node.cell[:i] + (part,) + node.cell[i + 1 :]


def _readings(
    tree: Tree, node: Node, places: dict[int, tuple[Point, Sample | None]]
) -> dict[Sample, list[float | Reading]]:
    """What is known at the samples of a cell and at its centre.

    Args:
        tree: The tree.
        node: A leaf.
        places: Where in the leaf its observations are, as far as that is known; completed here.
    """
    found: dict[Sample, list[float | Reading]] = {}
    for number, observation in node.observations.items():
        point, place = places.get(number, (None, None))
        if point is not observation.point:
            place = _place(tree, node, observation.point)
            places[number] = observation.point, place
        if place is not None:
            found.setdefault(place, []).append(observation.reading)
    return found


def _place(tree: Tree, node: Node, point: Point) -> Sample | None:
    """The sample of a cell that a point is, `_CENTRE`, or None."""
    centre = cells.centre(tree.axes, node.cell)
    pairs = enumerate(zip(point, centre, strict=True))
    off = [i for i, (x, c) in pairs if x is not c and not tree.axes[i].at_centre(node.cell[i], x)]
    if len(off) != 1:
        return None if off else _CENTRE
    i = off[0]
    axis = tree.axes[i]
    parts = cells.outer_parts(axis, node.cell[i])
    return next(((i, part) for part in parts if axis.at_centre(part, point[i])), None)


def _divide(tree: Tree, opening: Opening, values: dict[Sample, float]) -> None:
    """Cuts a cell on its longest axes, the one with the best sample first."""
    node, axes = opening.node, _longest(opening.node)
    pairs = {i: [sample for sample in values if sample[0] == i] for i in axes}
    orders: dict[Sample, Order] = {}
    for rank, i in enumerate(axes):
        for k, sample in enumerate(sorted(pairs[i], key=values.__getitem__)):
            orders[sample] = (*opening.stamp, 2 * rank + k)
    by_sample = sorted(axes, key=lambda i: min(values[sample] for sample in pairs[i]))
    cuts = []
    for k, i in enumerate(by_sample):
        middle = (*opening.stamp, 2 * len(axes) + k)  # behind all new ones, as it is put in last
        parts = tree.axes[i].cut(node.cell[i])
        cuts.append((i, [orders.get((i, part), middle) for part in parts]))
    tree.cut(node, *cuts)
