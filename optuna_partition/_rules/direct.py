"""The rule DIRECT (Jones 1993, Gablonsky 2001): reads and opens a tree, knows which cells wait.

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
from dataclasses import field
import math
import re
from typing import Any
from typing import final
from typing import TypeAlias

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Interval
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Growth
from optuna_partition._core.node import Node
from optuna_partition._core.node import Order
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._core.tree import Tree
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Partition
from optuna_partition._rules.rule import Rule


__all__ = ["Cursor", "DIRECT"]

_TIE = 1e-13  # values this close to the best of their size are as good (Gablonsky's code)

_Sample: TypeAlias = tuple[int, Interval]
"""A point on an axis through a cell's centre: the axis, and the part of it whose centre it is."""
_CENTRE: _Sample = (-1, (0, 0))  # stands for a cell's own centre among its samples
_Readings: TypeAlias = dict[_Sample, list[float | Reading]]
_Places: TypeAlias = dict[int, tuple[Point, _Sample | None]]
"""Trial number -> its point, and which sample of the cell that is, if it is one."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many asks have begun an iteration."""

    iteration: int


@final
@dataclass(frozen=True)
class DIRECT(Rule[Cursor]):
    """The rule with its options.

    Args:
        locally_biased: Whether it is DIRECT-L.
        epsilon: Least improvement a cell must promise, as a share of the best value.
    """

    locally_biased: bool
    epsilon: float

    @property
    def name(self) -> str:
        return f"direct locally_biased={self.locally_biased} epsilon={self.epsilon!r}"

    @classmethod
    def named(cls, name: str) -> DIRECT | None:
        """The rule of a name, if it is DIRECT's."""
        options = re.fullmatch(r"direct locally_biased=(True|False) epsilon=(\S+)", name)
        return options and cls(options[1] == "True", float(options[2]))

    @property
    def start(self) -> Cursor:
        return Cursor(0)

    def plant(self, axes: Sequence[Axis], growth: Growth | None = None) -> Partition[Cursor]:
        return _Divided(self, axes, growth)

    def join(self, a: Cursor, b: Cursor) -> Cursor:
        return max(a, b, key=lambda cursor: cursor.iteration)

    def dump(self, cursor: Cursor) -> tuple[Any, ...]:
        return astuple(cursor)

    def load(self, *values: Any) -> Cursor:
        return Cursor(*values)


@dataclass(slots=True, eq=False)
class _Opening:
    """A cell that is decided to be opened and waits for its samples.

    Args:
        node: The cell.
        stamp: The iteration, and the cell's place in it.
        missing: The samples that nobody evaluates.
        value: The value at its own centre, infinite while there is none.
        places: Where in the cell its observations are.
    """

    node: Node
    stamp: Order
    missing: tuple[_Sample, ...] = ()
    value: float = math.inf
    places: _Places = field(default_factory=dict)


@final
class _Divided(Partition[Cursor]):
    """A tree, and which of its cells wait to be cut.

    Both follow from what trials said and opened: a cell waits because a trial that opened it has
    been read and not all that its cuts depend on. So this is in no trial, and lost with the tree.
    """

    def __init__(self, rule: DIRECT, axes: Sequence[Axis], growth: Growth | None) -> None:
        unit = cells.unit(axes)

        def size(node: Node) -> float:
            """What groups cells: rounded, since the hull divides by differences of sizes."""
            if rule.locally_biased:
                return max(node.sides) / unit
            return 0.5 * math.sqrt(sum(side * side for side in node.sides) / unit**2)

        self._touched: set[Cell] = set()  # opening cells with news since they were last looked at
        super().__init__(Tree(axes, size, growth, news=self._touched.add))
        self._rule, self._size = rule, size
        self._opening: dict[Cell, _Opening] = {}
        self._deferred: dict[Cell, Order] = {}  # opened by trials, and in no cell cut so far

    # ---- one ask ----

    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        opened: list[Cell] = []
        while (cell := self._wanted()) is None:
            best = self._potentially_optimal()
            if not best:
                cell = self._ahead()
                break
            for leaf in best:
                self._start_opening(leaf, (cursor.iteration + 1, len(opened)))
                opened.append(leaf.cell)
            self.settle()
        return Choice(cell, tuple(opened), Cursor(cursor.iteration + bool(opened)))

    def _wanted(self) -> Cell | None:
        """The next cell to evaluate that an opened cell waits for."""
        if (leaf := self.tree.ranking.first_empty()) is not None:
            return leaf.cell
        wanting = [opening for opening in self._opening.values() if opening.missing]
        if not wanting:
            return None
        first = min(wanting, key=lambda opening: (opening.stamp, opening.node.cell))
        return _sampled(first.node, first.missing[0])

    def _ahead(self) -> Cell | None:
        """A cell inside the best one in flight, so that no ask waits for a result.

        Breadth first over the thirds of thirds: those are the samples that DIRECT will want there
        once the values are in. The tree stays as it is. In a finite space the cells in flight may
        have no point left; then inside the best of the others.
        """
        opening = {opening.node: opening.value for opening in self._opening.values()}

        def rank(leaf: Node) -> tuple[float, int, Order, Cell]:
            return opening.get(leaf, math.inf), leaf.depth, leaf.order, leaf.cell

        for leaf in sorted([*opening, *self.tree.flying()], key=rank):
            if (cell := self.tree.first_free(leaf)) is not None:
                return cell
        return self.tree.best_free(self._at_centre)

    def _at_centre(self, leaf: Node) -> float:
        """The value at a leaf's own centre, infinite while there is none."""
        return _value(_readings(self.tree, leaf, {}).get(_CENTRE, []))

    # ---- the hull ----

    def _potentially_optimal(self) -> list[Node]:
        """The cells to open, largest first; then, unless locally biased, those tied with them."""
        best = self._best_by_size()
        d = sorted(best, reverse=True)
        f = _finite([best[size][0] for size in d])
        hull = _hull(d, f, self._least(f), self._rule.epsilon)
        optimal = [best[d[j]][1] for j in hull]
        kept = [node for node in optimal if node.state is not State.OPENING]
        if self._rule.locally_biased:
            return kept
        return kept + [leaf for head in kept for leaf in self.tree.ranking.tied(head, _TIE)]

    def _best_by_size(self) -> dict[float, tuple[float, Node]]:
        """The best value and cell of each size.

        A cell that waits for samples still counts, at its centre's value: while the best cells are
        in flight, those they keep off the hull must not be opened in their place. With one worker
        no cell waits when an iteration begins.
        """
        best: dict[float, tuple[float, Node]] = {}
        for size in self.tree.ranking.groups():
            leaf = self.tree.ranking.best(size)
            assert leaf is not None and isinstance(size, float)
            best[size] = (leaf.value, leaf)
        for opening in self._opening.values():
            if math.isfinite(opening.value):
                size = self._size(opening.node)
                if size not in best or opening.value <= best[size][0]:
                    best[size] = (opening.value, opening.node)
        return best

    def _least(self, f: list[float]) -> float:
        known = self.tree.incumbent
        return known if known is not None and math.isfinite(known) else min(f, default=0.0)

    # ---- which cells wait ----

    def open(self, cell: Cell, cursor: Cursor, place: int) -> None:
        """Opens a cell as an ask did; later, if the cells around it still wait for values."""
        self._open(cell, (cursor.iteration, place))

    def _open(self, cell: Cell, stamp: Order) -> None:
        node = self.tree.node(cell)
        if node is None:
            self._deferred[cell] = min(stamp, self._deferred.get(cell, stamp))
        elif cell in self._opening:
            self._opening[cell].stamp = min(stamp, self._opening[cell].stamp)
        elif not node.children:
            self._start_opening(node, stamp)

    def _start_opening(self, leaf: Node, stamp: Order) -> None:
        self.tree.hold(leaf)
        self._opening[leaf.cell] = _Opening(leaf, stamp)
        self._touched.add(leaf.cell)

    def settle(self) -> None:
        """Cuts every opening cell whose samples have values, and opens what waited for that."""
        while self._touched or any(self.tree.node(cell) for cell in self._deferred):
            for cell in [cell for cell in self._deferred if self.tree.node(cell)]:
                self._open(cell, self._deferred.pop(cell))
            touched = [cell for cell in self._touched if cell in self._opening]
            self._touched.clear()
            for opening in [self._opening[cell] for cell in touched]:
                self._look(opening)

    def _look(self, opening: _Opening) -> None:
        """Sees what an opening cell waits for, and cuts it when that is nothing."""
        node = opening.node
        found = _readings(self.tree, node, opening.places)
        opening.value = _value(found.get(_CENTRE, []))
        readings = {sample: found.get(sample, []) for sample in _samples(self.tree, node)}
        opening.missing = tuple(sample for sample, said in readings.items() if not said)
        if all(said and not _is_flying(said) for said in readings.values()):
            del self._opening[node.cell]
            _divide(self.tree, opening, {sample: _value(s) for sample, s in readings.items()})


# ---- the hull, in numbers ----


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


def _value(readings: Sequence[float | Reading]) -> float:
    """The best of the values, infinite where there is none."""
    return min((r for r in readings if not isinstance(r, Reading)), default=math.inf)


def _is_flying(readings: Sequence[float | Reading]) -> bool:
    """Whether there is no value yet and one may come."""
    return Reading.FLYING in readings and all(isinstance(r, Reading) for r in readings)


def _longest(node: Node) -> list[int]:
    most = max(node.sides)
    return [i for i, side in enumerate(node.sides) if side == most]


def _samples(tree: Tree, node: Node) -> list[_Sample]:
    """c + delta e_i, c - delta e_i, in the order of evaluation."""
    return [
        (i, part) for i in _longest(node) for part in cells.outer_parts(tree.axes[i], node.cell[i])
    ]


def _sampled(node: Node, sample: _Sample) -> Cell:
    """The cell whose centre is the sample."""
    i, part = sample
    return node.cell[:i] + (part,) + node.cell[i + 1 :]


def _readings(tree: Tree, node: Node, places: _Places) -> _Readings:
    """What is known at the samples of a cell and at its centre.

    Args:
        tree: The tree.
        node: A leaf.
        places: Where in the leaf its observations are, as far as that is known; completed here.
    """
    found: _Readings = {}
    for number, observation in node.observations.items():
        point, place = places.get(number, (None, None))
        if point is not observation.point:
            place = _place(tree, node, observation.point)
            places[number] = observation.point, place
        if place is not None:
            found.setdefault(place, []).append(observation.reading)
    return found


def _place(tree: Tree, node: Node, point: Point) -> _Sample | None:
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


def _divide(tree: Tree, opening: _Opening, values: dict[_Sample, float]) -> None:
    """Cuts a cell on its longest axes, the one with the best sample first."""
    node, axes = opening.node, _longest(opening.node)
    pairs = {i: [sample for sample in values if sample[0] == i] for i in axes}
    orders: dict[_Sample, Order] = {}
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
