"""What a rule is: a name, a cursor and a choice; the standard library and the tree only."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Generic
from typing import Protocol
from typing import TypeVar

from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.growth import Growth
from optuna_partition._core.tree import Tree


__all__ = ["Choice", "CursorT", "Rule"]

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
    """

    cell: Cell | None
    opened: tuple[Cell, ...]
    cursor: CursorT
    at: Cell | None = None
    bounds: tuple[tuple[Cell, float], ...] = ()


class Plant(Protocol):
    def __call__(self, axes: Sequence[Axis], growth: Growth | None = None) -> Tree: ...


def _no_bound(tree: Tree, cell: Cell, value: float) -> None:
    raise AssertionError("a rule without a belief spares no cell")


@dataclass(frozen=True, slots=True)
class Rule(Generic[CursorT]):
    """A way to choose the next cell, as a value.

    Args:
        name: The rule with the options that change its choices; trials carry it.
        plant: A tree with nothing in it, for the axes of a space and, if need be, its growth.
        start: The cursor before any ask.
        join: The later of two cursors; commutative, associative and idempotent, so that it does
            not matter in which order two workers are read.
        choose: Picks the next cell, opening cells of the tree until there is one.
        open: Opens a cell as the ask did that left the tree at a cursor, its place among the
            cells of that ask given.
        settle: Does what follows from the values in the tree without a decision.
        dump: A cursor as JSON values.
        load: A cursor from those values.
        bound: Gives a cell the value that an ask spared it with.
    """

    name: str
    plant: Plant
    start: CursorT
    join: Callable[[CursorT, CursorT], CursorT]
    choose: Callable[[Tree, CursorT], Choice[CursorT]]
    open: Callable[[Tree, Cell, CursorT, int], None]
    settle: Callable[[Tree], None]
    dump: Callable[[CursorT], tuple[Any, ...]]
    load: Callable[..., CursorT]
    bound: Callable[[Tree, Cell, float], None] = _no_bound
