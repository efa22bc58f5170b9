"""Which cells exist and what is known about each; decides nothing, knows no Optuna and no clock.

A tree is a set of cells closed under "parent", and a set of observations: trial number -> point
and reading. Both only say what is so; the order in which they came leaves no trace, so a tree is
a function of what is in it.

States of a node, by the observations inside its cell:

=========  ============================================  =====================================
state      observations                                  who moves it on
=========  ============================================  =====================================
EMPTY      none                                          an ask evaluates its centre
FLYING     none with a value, some in flight             the trial's end
FAILED     none with a value, none in flight             its value is repaired from neighbours
KNOWN      some with a value: the best is the cell's     the rule opens it
OPEN       handed to its children                        nobody
=========  ============================================  =====================================
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from enum import Enum
import heapq
import math

from optuna_partition import _cells
from optuna_partition._cells import Axis
from optuna_partition._cells import Cell
from optuna_partition._cells import Point


__all__ = ["Node", "Reading", "State", "Tree"]


class Reading(Enum):
    """What a trial says about its point while or because it says no value."""

    FLYING = "in flight"
    FAILED = "failed"


class State(Enum):
    EMPTY = "empty"
    FLYING = "in flight"
    FAILED = "failed"
    KNOWN = "known"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Observation:
    point: Point
    reading: float | Reading


@dataclass(slots=True, eq=False)
class Node:
    """A cell in the tree.

    Args:
        cell: Its geometry.
        depth: Number of cuts from the root.
        index: Position at its depth; the children of index j are 3j, 3j + 1, 3j + 2.
        axis: The axis it is cut on when it is opened, None when it can not be cut.
    """

    cell: Cell
    depth: int
    index: int
    axis: int | None
    state: State = State.EMPTY
    value: float = math.nan
    children: tuple[Node, ...] = ()
    observations: dict[int, Observation] = field(default_factory=dict)


class Tree:
    """The partition of one space (smaller values are better)."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)
        self.deepest = 0
        self._holder: dict[int, Node] = {}  # trial number -> the leaf its observation is in
        self._known: dict[int, Observation] = {}
        self._worst: float | None = None  # largest finite value observed
        self._failed: dict[Cell, Node] = {}
        self._divisible = 0  # leaves that can be opened
        # Heaps hold every leaf that ever had the state; a stale entry is dropped when it surfaces.
        self._empty: list[tuple[int, int, Node]] = []
        self._flying: list[tuple[int, int, Node]] = []
        self._ranked: list[list[tuple[float, int, Node]]] = []  # by depth
        self.root = self._add(_cells.root(self.axes), depth=0, index=0)
        self._classify(self.root)

    # ---- what is so ----

    def observe(self, number: int, point: Point, reading: float | Reading) -> None:
        """Says what trial `number` observed at a point; replaces what it said before."""
        observation = Observation(point, reading)
        leaf = self._holder.get(number)
        if leaf is None or leaf.observations[number].point != point:
            self.forget(number)
            leaf = self._leaf(point)
        elif leaf.observations[number] == observation:
            return
        leaf.observations[number] = observation
        self._holder[number] = leaf
        self._classify(leaf)
        if not isinstance(reading, Reading):
            self._learn(number, observation)

    def forget(self, number: int) -> None:
        """Takes back what a trial said, if it said anything."""
        leaf = self._holder.pop(number, None)
        if leaf is None:
            return
        del leaf.observations[number]
        self._known.pop(number, None)
        self._classify(leaf)

    def open(self, cell: Cell) -> None:
        """Opens a cell, and before it every cell around it that is still closed."""
        centre = _cells.centre(self.axes, cell)
        node = self.root
        while node.cell != cell:
            if not node.children:
                self._open(node)
            node = self._child(node, centre)
        if not node.children:
            self._open(node)

    # ---- what one may ask ----

    def is_empty(self, point: Point, but: int) -> bool:
        """Whether the leaf around a point has no observation, one trial's aside."""
        return not self._leaf(point).observations.keys() - {but}

    def first_empty(self) -> Node | None:
        """The largest leaf nobody evaluates, the leftmost of them."""
        return _top(self._empty, State.EMPTY)

    def first_flying(self) -> Node | None:
        """The largest leaf in flight that can be opened, the leftmost of them."""
        while (leaf := _top(self._flying, State.FLYING)) is not None and leaf.axis is None:
            heapq.heappop(self._flying)
        return leaf

    def best(self, depth: int) -> Node | None:
        """The leaf of the least value at a depth that can be opened, the leftmost on ties."""
        ranked = self._ranked[depth]
        while ranked:
            value, _, leaf = ranked[0]
            if leaf.state in (State.KNOWN, State.FAILED) and leaf.value == value:
                return leaf
            heapq.heappop(ranked)
        return None

    def settled(self, but: int | None = None) -> bool:
        """Whether nothing is left to open, to evaluate or to wait for, one trial aside."""
        if self._divisible or self.first_empty() is not None:
            return False
        return all(
            number == but or observation.reading is not Reading.FLYING
            for node in self.leaves()
            if node.state is State.FLYING
            for number, observation in node.observations.items()
        )

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

    def _add(self, cell: Cell, depth: int, index: int) -> Node:
        node = Node(cell, depth, index, _cells.longest_axis(self.axes, cell))
        self._divisible += node.axis is not None
        self.deepest = max(self.deepest, depth)
        if depth == len(self._ranked):
            self._ranked.append([])
        return node

    def _open(self, node: Node) -> None:
        assert node.axis is not None, f"{node.cell} can not be cut"
        parts = _cells.children(self.axes, node.cell, node.axis)
        node.children = tuple(
            self._add(cell, node.depth + 1, 3 * node.index + i) for i, cell in enumerate(parts)
        )
        node.state = State.OPEN
        self._divisible -= 1
        self._failed.pop(node.cell, None)
        for number, observation in node.observations.items():
            child = self._child(node, observation.point)
            child.observations[number] = observation
            self._holder[number] = child
        node.observations = {}
        for child in node.children:
            self._classify(child)

    def _child(self, node: Node, point: Point) -> Node:
        axis = node.axis
        assert axis is not None
        return next(
            child
            for child in node.children
            if self.axes[axis].holds(child.cell[axis], point[axis])
        )

    def _leaf(self, point: Point) -> Node:
        node = self.root
        while node.children:
            node = self._child(node, point)
        return node

    def _classify(self, leaf: Node) -> None:
        """Sets state and value from the observations, and files the leaf."""
        readings = [o.reading for o in leaf.observations.values()]
        values = [r for r in readings if not isinstance(r, Reading)]
        self._failed.pop(leaf.cell, None)
        if values:
            leaf.state, leaf.value = State.KNOWN, min(values)
            self._rank(leaf)
        elif Reading.FLYING in readings:
            leaf.state, leaf.value = State.FLYING, math.nan
            heapq.heappush(self._flying, (leaf.depth, leaf.index, leaf))
        elif readings:
            leaf.state = State.FAILED
            self._failed[leaf.cell] = leaf
            self._repair(leaf)
        else:
            leaf.state, leaf.value = State.EMPTY, math.nan
            heapq.heappush(self._empty, (leaf.depth, leaf.index, leaf))

    def _rank(self, leaf: Node) -> None:
        if leaf.axis is not None:
            heapq.heappush(self._ranked[leaf.depth], (leaf.value, leaf.index, leaf))

    def _learn(self, number: int, observation: Observation) -> None:
        """Lets a new value reach the failed cells around it."""
        value = observation.reading
        assert not isinstance(value, Reading)
        self._known[number] = observation
        worst_moves = math.isfinite(value) and (self._worst is None or value > self._worst)
        if worst_moves:
            self._worst = value
        for leaf in self._failed.values():
            if worst_moves or _cells.near(self.axes, leaf.cell, observation.point):
                self._repair(leaf)

    def _repair(self, leaf: Node) -> None:
        """Gives a failed cell a value (Gablonsky 2001, section 3.5: hidden constraints).

        With F the least value observed inside the cell enlarged twice around its centre, it is
        F + 1e-6 |F|; where nothing is observed there, one more than the worst value observed.
        """
        around = [
            float(o.reading)  # type: ignore[arg-type]  # `_known` holds values only
            for o in self._known.values()
            if _cells.near(self.axes, leaf.cell, o.point)
        ]
        if around:
            least = min(around)
            leaf.value = least + 1e-6 * abs(least) if math.isfinite(least) else least
        else:
            leaf.value = (self._worst or 0.0) + 1.0
        self._rank(leaf)


def _top(heap: list[tuple[int, int, Node]], state: State) -> Node | None:
    while heap:
        leaf = heap[0][2]
        if leaf.state is state:
            return leaf
        heapq.heappop(heap)
    return None
