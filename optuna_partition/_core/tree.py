"""Which cells exist and what is known about each; decides nothing, knows no Optuna and no clock.

A tree is a set of cells closed under "parent", and a set of observations: trial number -> point
and reading. Both only say what is so; the order in which they came leaves no trace, so a tree is
a function of what is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Container
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Sequence
import math

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Growth
from optuna_partition._core.growth import Whole
from optuna_partition._core.inside import Search
from optuna_partition._core.node import Constraints
from optuna_partition._core.node import Node
from optuna_partition._core.node import Observation
from optuna_partition._core.node import Order
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._core.ranking import Ranking
from optuna_partition._core.repair import FailedCells


__all__ = ["Tree"]


class Tree:
    """The partition of one space (smaller values are better).

    Args:
        axes: The axes of the space.
        group: In which group a cell competes in the `ranking`.
        growth: Where it begins and what a cut gives, if not the whole of the axes.
        news: Is told of the leaves that are held when what is observed in them changes.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        group: Callable[[Node], Hashable],
        growth: Growth | None = None,
        news: Callable[[Cell], None] = lambda cell: None,
    ) -> None:
        self.axes = tuple(axes)
        self._growth = growth or Whole(self.axes)
        self._news = news
        self.deepest = 0
        self.interrupted: dict[int, Cell] = {}  # trial number -> the cell it was to evaluate
        self._unit = cells.unit(self.axes)
        self._nodes: dict[Cell, Node] = {}
        self._holder: dict[int, Node] = {}  # trial number -> the leaf its observation is in
        self._at: dict[Point, set[int]] = {}  # point -> the trials whose observation is there
        self._searches: dict[Node, Search] = {}  # leaf -> the search for a free point inside
        self._known: dict[int, tuple[Point, float]] = {}
        self.overdue: frozenset[int] = frozenset()  # trials in flight that no cell waits for
        self.incumbent: float | None = None  # least feasible value observed
        self.ranking = Ranking(group)
        self._failed = FailedCells(self.axes, self._known, self.ranking.add)
        self._flying: set[Node] = set()
        self._n_bounds = 0
        whole = self._growth.root
        self.root = self._add(whole, cells.sides(self.axes, whole), depth=0, order=(0,))
        self._classify(self.root)

    # ---- what is so ----

    def observe(
        self,
        number: int,
        point: Point,
        reading: float | Reading,
        constraints: Constraints = (),
        measured: float | None = None,
        asked: Cell | None = None,
    ) -> None:
        """Says what trial `number` observed at a point; replaces what it said before."""
        observation = Observation(point, reading, constraints, measured)
        leaf = self._holder.get(number)
        if leaf is None or leaf.observations[number].point != point:
            self.forget(number)
            leaf = self.leaf(point, asked)
        elif leaf.observations[number] == observation:
            return
        leaf.observations[number] = observation
        self._holder[number] = leaf
        self._at.setdefault(point, set()).add(number)
        self._classify(leaf)
        if not isinstance(reading, Reading):
            self._known[number] = point, reading
            self.incumbent = reading if self.incumbent is None else min(self.incumbent, reading)
            self._failed.learn(point, reading)

    def forget(self, number: int) -> None:
        """Takes back what a trial said, if it said anything."""
        leaf = self._holder.pop(number, None)
        if leaf is None:
            return
        point = leaf.observations.pop(number).point
        self._at[point].discard(number)
        if not self._at[point]:
            del self._at[point]
        self._searches.pop(leaf, None)  # the point may be free now
        known = self._known.pop(number, None)
        self._classify(leaf)
        if known is not None:
            self._failed.look_again()

    def wait_no_more(self, numbers: frozenset[int]) -> None:
        """Says which trials no cell waits for: until they have a value they are as if failed."""
        changed = numbers ^ self.overdue
        self.overdue = numbers
        for number in sorted(changed & self._holder.keys()):
            self._classify(self._holder[number])

    def node(self, cell: Cell) -> Node | None:
        """The node of a cell, if the tree has it."""
        return self._nodes.get(cell)

    def hold(self, leaf: Node) -> None:
        """Takes a leaf out of the contest until the rule cuts it; there is `news` of it."""
        self._unfile(leaf)
        leaf.state, leaf.value = State.OPENING, math.nan

    def cut(self, node: Node, *cuts: tuple[int, Sequence[Order]]) -> None:
        """Cuts a leaf; its observations go to the leaves they lie in.

        Args:
            node: The leaf.
            cuts: An axis and the orders of the parts, for each cut; every one after the first
                cuts the part in the middle that the one before has left.
        """
        self._unfile(node)
        self._searches.pop(node, None)
        inner, leaves = node, []
        for axis, orders in cuts:
            self._split(inner, axis, orders)
            self._hand_down(inner)
            middle = _middle(inner)
            leaves += [child for child in inner.children if child is not middle]
            inner = middle
        for leaf in (*leaves, inner):
            self._classify(leaf)

    def bound(self, node: Node, value: float) -> None:
        """Spares a cell an evaluation; of two bounds the smaller stays, whoever is read first."""
        self._n_bounds += node.bound is None
        node.bound = value if node.bound is None else min(value, node.bound)
        if not node.children:
            self._classify(node)

    # ---- what one may ask ----

    @property
    def considered(self) -> int:
        """How many cells have been judged: values known and bounds given."""
        return len(self._known) + self._n_bounds

    def has(self, point: Point, but: int | None = None) -> bool:
        """Whether exactly this point is observed or in flight, one trial's aside."""
        return not self._at.get(point, set()) <= {but}

    def at(self, point: Point) -> Collection[int]:
        """The trials that are observed or in flight at exactly this point."""
        return self._at.get(point, set())

    def is_asked(self, cell: Cell) -> bool:
        """Whether a cell's centre is observed or in flight, as near as parameters are floats."""
        observations = self.leaf(cells.centre(self.axes, cell)).observations.values()
        return any(cells.at_centre(self.axes, cell, o.point) for o in observations)

    def numbers(self) -> Collection[int]:
        """The trials that have said something."""
        return self._holder.keys()

    def readings(self, but: Container[int] = ()) -> dict[Point, list[float | Reading]]:
        """What trials say at each point, by trial number, some trials aside."""
        return {
            point: [self._holder[n].observations[n].reading for n in sorted(there) if n not in but]
            for point, there in self._at.items()
        }

    def known(self) -> list[tuple[Point, float]]:
        """The points with a value, by trial number, and their values."""
        return [self._known[number] for number in sorted(self._known)]

    def points(self, *readings: Reading) -> list[Point]:
        """The points in flight, or those that failed, by trial number."""
        return [o.point for o in self.said().values() if o.reading in readings]

    def said(self) -> dict[int, Observation]:
        """What trials say, by number."""
        return {number: leaf.observations[number] for number, leaf in sorted(self._holder.items())}

    def parts(self, cell: Cell, axis: int) -> tuple[Cell, ...]:
        """The parts of a cell cut on an axis, from left to right."""
        return self._growth.parts(cell, axis)

    def is_empty(self, node: Node) -> bool:
        """Whether a cell is a leaf in which nothing is observed and nothing in flight."""
        return node.state is State.EMPTY

    def first_interrupted(self) -> Cell | None:
        """The cell of the first trial that was interrupted and whose point nobody has taken."""
        left = (self.interrupted[number] for number in sorted(self.interrupted))
        free = (c for c in left if not self.has(cells.centre(self.axes, c)))
        return next(free, None)

    def flying(self) -> list[Node]:
        """The leaves in flight, the largest first and the leftmost of these."""
        return sorted(self._flying, key=lambda leaf: (leaf.depth, leaf.order, leaf.cell))

    def first_flying(self) -> Node | None:
        """The largest leaf in flight that can be opened, the leftmost of them."""
        return next((leaf for leaf in self.flying() if leaf.axis is not None), None)

    def first_free(self, leaf: Node) -> Cell | None:
        """The largest cell inside a leaf at whose centre no trial is, the leftmost of them."""
        if leaf not in self._searches:
            self._searches[leaf] = Search(self.axes, self.parts, leaf.cell)
        return self._searches[leaf].first(self.has)

    def best_free(self, value: Callable[[Node], float]) -> Cell | None:
        """The `first_free` inside the best leaf that can be opened and has one.

        Args:
            value: What a leaf is worth, no better than the best value inside; of equals the
                largest comes first.
        """
        return self.ranking.best_free(value, self.first_free)

    def least_bounded(self) -> Node | None:
        """The leaf of the least bound, the leftmost of equals, if any has one."""
        bounded = (leaf for leaf in self.leaves() if leaf.state is State.BOUNDED)
        return min(bounded, key=lambda leaf: leaf.value, default=None)

    @property
    def n_points(self) -> float:
        """How many points the space has."""
        return self._growth.size

    def is_taken(self) -> bool:
        """Whether every point of a finite space is evaluated or in flight."""
        return len(self._at) == self.n_points

    def is_exhausted(self, but: int) -> bool:
        """Whether every point of a finite space has a reading, that of one trial still to come."""
        if not self.is_taken():
            return False
        done = {
            leaf.observations[number].point
            for number, leaf in self._holder.items()
            if number == but or leaf.observations[number].reading is not Reading.FLYING
        }
        return len(done) == self.n_points

    def leaves(self) -> Iterator[Node]:
        """The cells of the partition, from left to right."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node.children:
                stack.extend(reversed(node.children))
            else:
                yield node

    # ---- how it is kept ----

    def _split(self, node: Node, i: int, orders: Sequence[Order]) -> None:
        """Gives a leaf its children; nothing is filed yet."""
        node.axis, node.state = i, State.OPEN
        node.children = tuple(
            self._add(cell, self._sides(cell, node), node.depth + 1, order)
            for cell, order in zip(self.parts(node.cell, i), orders, strict=True)
        )

    def _sides(self, cell: Cell, parent: Node) -> tuple[int, ...]:
        """The sides of a part; only where its intervals are others are they looked at."""
        return tuple(
            side if interval == old else cells.side(axis, interval, self._unit)
            for axis, interval, old, side in zip(
                self.axes, cell, parent.cell, parent.sides, strict=True
            )
        )

    def _hand_down(self, node: Node) -> None:
        """Gives a cell's observations to the children they lie in."""
        i, middle = node.axis, _middle(node)
        assert i is not None
        centre = self.axes[i].centre(node.cell[i])
        for number, observation in node.observations.items():
            point = observation.point  # centres are cached: mostly one object
            child = middle if point[i] is centre else self.child(node, point)
            child.observations[number] = observation
            self._holder[number] = child
        node.observations = {}

    def _add(self, cell: Cell, sides: tuple[int, ...], depth: int, order: Order) -> Node:
        node = Node(cell, depth, order, sides, cells.longest(sides))
        self._nodes[cell] = node
        self.deepest = max(self.deepest, depth)
        return node

    def child(self, node: Node, point: Point) -> Node:
        """The child of an open cell that a point lies in."""
        i = node.axis
        assert i is not None
        axis, x = self.axes[i], point[i]
        if x is axis.centre(node.cell[i]):  # centres are cached: mostly one object
            return _middle(node)
        return next(child for child in node.children if axis.holds(child.cell[i], x))

    def leaf(self, point: Point, asked: Cell | None = None) -> Node:
        """The leaf that a point lies in, mostly near the cell that was asked for."""
        node = self.root if asked is None else self._nodes.get(asked, self.root)
        if node is not self.root and not cells.holds(self.axes, node.cell, point):
            node = self.root
        while node.children:
            node = self.child(node, point)
        return node

    def _classify(self, leaf: Node) -> None:
        """Sets state and value from the observations, and files the leaf."""
        if leaf.state is State.OPENING:
            self._news(leaf.cell)
            return
        readings = [o.reading for o in leaf.observations.values()]
        values = [r for r in readings if not isinstance(r, Reading)]
        self._unfile(leaf)
        if values:
            leaf.state, leaf.value = State.KNOWN, min(values)
            self.ranking.add(leaf)
        elif Reading.FLYING in readings and self._is_waited_for(leaf):
            leaf.state, leaf.value = State.FLYING, math.nan
            self._flying.add(leaf)
        elif readings:
            leaf.state = State.FAILED
            self._failed.add(leaf)
        elif leaf.bound is not None:
            leaf.state, leaf.value = State.BOUNDED, leaf.bound
            self.ranking.add(leaf)
        else:
            leaf.state, leaf.value = State.EMPTY, math.nan
            self.ranking.add_empty(leaf)

    def _is_waited_for(self, leaf: Node) -> bool:
        """Whether a leaf has a trial in flight that is not overdue."""
        flying = (n for n, o in leaf.observations.items() if o.reading is Reading.FLYING)
        return not self.overdue.issuperset(flying)

    def _unfile(self, leaf: Node) -> None:
        """Takes a leaf out of where its state has put it, but for the heaps."""
        self._flying.discard(leaf)
        self._failed.discard(leaf)


def _middle(node: Node) -> Node:
    """The child that keeps a cell's centre."""
    return node.children[(len(node.children) - 1) // 2]
