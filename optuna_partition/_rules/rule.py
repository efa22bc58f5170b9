"""What a rule is: a name, a cursor, and the partitions it grows; decides nothing itself.

A rule is a value. What it makes of one space, by what trials say, is a partition: a tree, and
whatever the rule keeps beside it to know what to do next. All of that follows from what the tree
was told and which cells were opened, so a partition is a cache like the tree inside it.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import Generic
from typing import TypeVar

from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.growth import Growth
from optuna_partition._core.tree import Tree
from optuna_partition._rules.source import Knowledge


__all__ = ["Choice", "CursorT", "Partition", "Rule"]

CursorT = TypeVar("CursorT")


@dataclass(frozen=True, slots=True)
class Choice(Generic[CursorT]):
    """What an ask decided.

    Args:
        cell: The cell to evaluate; None when every point of a finite space is taken.
        opened: The cells opened on the way, in order.
        cursor: Where the rule stands now.
        at: The tiny cell at whose centre it is evaluated, where that is not the cell's own.
        bounds: The cells spared an evaluation on the way, and the values they take instead.
        repeats: Whether the point has a value already and is evaluated once more.
    """

    cell: Cell | None
    opened: tuple[Cell, ...]
    cursor: CursorT
    at: Cell | None = None
    bounds: tuple[tuple[Cell, float], ...] = ()
    repeats: bool = False

    @property
    def evaluated(self) -> Cell | None:
        """The cell whose centre is evaluated; None when every point is taken."""
        return self.at or self.cell

    def after(self, before: Choice[CursorT]) -> Choice[CursorT]:
        """The same choice, with what one before it did to the tree."""
        return replace(
            self, opened=before.opened + self.opened, bounds=before.bounds + self.bounds
        )


class Partition(ABC, Generic[CursorT]):
    """A space as a rule cuts it up.

    Args:
        tree: With nothing in it.
    """

    may_repeat = True
    """False once trials differ in more than the space: then two of one point do not tell noise."""

    cuts_by_values = False
    """Whether how a cell is cut depends on what trials say; else trials carry all of it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @abstractmethod
    def choose(self, cursor: CursorT) -> Choice[CursorT]:
        """Picks the next cell, opening cells of the tree until there is one."""

    @abstractmethod
    def open(self, cell: Cell, cursor: CursorT, place: int) -> None:
        """Opens a cell as an ask did.

        Args:
            cell: The cell.
            cursor: Where that ask left the rule.
            place: The cell's among those that this ask opened.
        """

    def bound(self, cell: Cell, value: float) -> None:
        """Gives a cell the value that an ask spared it with."""
        raise AssertionError("a rule without a belief spares no cell")

    def hear(self, number: int, reports: Sequence[tuple[float, float]], end: float | None) -> None:
        """Says what a trial has reported; a rule without a belief has no use for that.

        Args:
            number: The trial's.
            reports: Step and value, by step.
            end: The value it ended with; None while it runs and where it was stopped.
        """
        return

    def remember(self, knowledge: Knowledge) -> None:
        """Says what is known before the first trial; for a rule with a belief."""
        return

    @abstractmethod
    def settle(self) -> None:
        """Does what follows from the values in the tree without a decision."""


class Rule(ABC, Generic[CursorT]):
    """A way to choose the next cell, as a value."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The rule with the options that its tree depends on; trials carry it."""

    @property
    @abstractmethod
    def start(self) -> CursorT:
        """The cursor before any ask."""

    @abstractmethod
    def plant(self, axes: Sequence[Axis], growth: Growth | None = None) -> Partition[CursorT]:
        """A partition with nothing in it.

        Args:
            axes: Of the space.
            growth: Where it begins and what a cut gives, if not the whole of the axes.
        """

    @abstractmethod
    def join(self, a: CursorT, b: CursorT) -> CursorT:
        """The later of two cursors.

        Commutative, associative and idempotent, so that it does not matter in which order two
        workers are read.
        """

    @abstractmethod
    def dump(self, cursor: CursorT) -> tuple[Any, ...]:
        """A cursor as JSON values."""

    @abstractmethod
    def load(self, *values: Any) -> CursorT:
        """A cursor from those values."""
