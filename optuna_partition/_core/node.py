"""What a tree is made of: nodes, their states, and what trials say; no behaviour.

States of a node, by the observations inside its cell:

=========  ============================================  =====================================
state      observations                                  who moves it on
=========  ============================================  =====================================
EMPTY      none                                          an ask evaluates it
BOUNDED    none; a model's bound is its value            the rule opens it
FLYING     none with a value, some in flight             the trial's end
FAILED     none with a value, none in flight but what    its value is repaired from neighbours
           is overdue; or none that is feasible
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

from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point


__all__ = ["Constraints", "Node", "Observation", "Order", "Reading", "State"]

Order: TypeAlias = tuple[int, ...]
Constraints: TypeAlias = tuple[tuple[str, float], ...]
"""Name and value of each constraint, by name; at most 0 is feasible."""


class Reading(Enum):
    """What a trial says about its point while or because it says no value."""

    FLYING = "in flight"
    FAILED = "failed"
    INFEASIBLE = "infeasible"


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
    """What a trial says.

    Args:
        point: Where.
        reading: Its value, if it is feasible.
        constraints: Those it was measured with.
        measured: The value where it is infeasible, if there is one.
    """

    point: Point
    reading: float | Reading
    constraints: Constraints = ()
    measured: float | None = None

    @property
    def value(self) -> float | None:
        """What was measured, feasible or not."""
        return self.measured if isinstance(self.reading, Reading) else self.reading


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
