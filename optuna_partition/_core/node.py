"""What a tree is made of: nodes, their states, and what trials say; no behaviour.

States of a node, by the observations inside its cell:

=========  ============================================  =====================================
state      observations                                  who moves it on
=========  ============================================  =====================================
EMPTY      none                                          an ask evaluates it
BOUNDED    none; a model's bound is its value            the rule opens it
FLYING     none with a value, some in flight             the trial's end
FAILED     none with a value, none in flight             its value is repaired from neighbours
KNOWN      some with a value: the best is the cell's     the rule opens it
OPENING    any; the rule waits for more to cut it        the rule cuts it
OPEN       handed to its children                        nobody
=========  ============================================  =====================================
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from enum import Enum
import math
from typing import TypeAlias

from optuna_partition._core.axes import Interval
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point


__all__ = ["Node", "Observation", "Opening", "Order", "Reading", "Sample", "State"]

Order: TypeAlias = tuple[int, ...]
Sample: TypeAlias = tuple[int, Interval]
"""A point on an axis through a cell's centre: the axis, and the part of it whose centre it is."""


class Reading(Enum):
    """What a trial says about its point while or because it says no value."""

    FLYING = "in flight"
    FAILED = "failed"


class State(Enum):
    EMPTY = "empty"
    BOUNDED = "bounded"
    FLYING = "in flight"
    FAILED = "failed"
    KNOWN = "known"
    OPENING = "opening"
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
        order: Its place among equals, as the rule has it: the lowest comes first, and of those
            that share it the lowest cell.
        sides: Its sides in pieces of the axes; 0 on an axis that cannot be cut.
        axis: The axis it is cut on: until then the lowest longest one; None when it cannot be cut.
        bound: Its value as long as nothing is observed inside, if a model has given it one.
    """

    cell: Cell
    depth: int
    order: Order
    sides: tuple[int, ...]
    axis: int | None
    state: State = State.EMPTY
    value: float = math.nan
    bound: float | None = None
    children: tuple[Node, ...] = ()
    observations: dict[int, Observation] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Opening:
    """A leaf that the rule has decided to cut and cannot cut yet.

    Args:
        node: The leaf.
        stamp: When that was decided, as the rule counts.
        missing: Samples the rule wants first and nobody evaluates; the rule keeps it.
        value: The value at the leaf's own centre, infinite while there is none; likewise.
        places: Trial number -> its point, and where in the leaf that is; likewise.
    """

    node: Node
    stamp: Order
    missing: tuple[Sample, ...] = ()
    value: float = math.inf
    places: dict[int, tuple[Point, Sample | None]] = field(default_factory=dict)
