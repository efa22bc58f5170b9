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

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.growth import Growth
from optuna_partition._core.node import Node
from optuna_partition._core.node import Order
from optuna_partition._core.node import State
from optuna_partition._core.tree import Tree
from optuna_partition._rules.division import best_value
from optuna_partition._rules.division import CENTRE
from optuna_partition._rules.division import divide
from optuna_partition._rules.division import first_told
from optuna_partition._rules.division import is_told
from optuna_partition._rules.division import Places
from optuna_partition._rules.division import readings_of
from optuna_partition._rules.division import Sample
from optuna_partition._rules.division import sampled
from optuna_partition._rules.division import samples
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Partition
from optuna_partition._rules.rule import Rule


__all__ = ["Cursor", "DIRECT"]

_TIE = 1e-13  # values this close to the best of their size are as good (Gablonsky's code)


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
    missing: tuple[Sample, ...] = ()
    value: float = math.inf
    places: Places = field(default_factory=dict)


@final
class _Divided(Partition[Cursor]):
    """A tree, and which of its cells wait to be cut.

    Both follow from what trials said and opened: a cell waits because a trial that opened it has
    been read and not all that its cuts depend on. So this is in no trial, and lost with the tree.
    """

    cuts_by_values = True

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
        return sampled(first.node, first.missing[0])

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
        return best_value(readings_of(self.tree, leaf, {}).get(CENTRE, []))

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
        found = readings_of(self.tree, node, opening.places)
        opening.value = best_value(found.get(CENTRE, []))
        readings = {sample: found.get(sample, []) for sample in samples(self.tree, node)}
        opening.missing = tuple(sample for sample, said in readings.items() if not said)
        if all(map(is_told, readings.values())):
            del self._opening[node.cell]
            values = {sample: first_told(said) for sample, said in readings.items()}
            divide(self.tree, node, opening.stamp, values)


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
