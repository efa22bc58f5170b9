"""Points where some coordinates are decided: the best of the tree on that slice; decides nothing.

A trial that was enqueued in part, or that began before the space was known, has suggested some of
its parameters. The others are completed by what is known: in the best cell that the slice cuts.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from fractions import Fraction
import math

from optuna_partition._core.axes import Coordinate
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Decided
from optuna_partition._core.node import Node
from optuna_partition._core.node import Order
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._core.tree import Tree


__all__ = ["on_slice"]


def on_slice(tree: Tree, decided: Decided, but: int) -> Iterator[Point]:
    """Points of a slice that no other trial has, those of the best cells first.

    In each cell first the centre, as far as it is free, then the centres of thirds and of their
    thirds. Where a cell has no value, the larger one comes first.

    Args:
        tree: What is known.
        decided: The coordinates that all of them have.
        but: The trial that asks; what it has suggested may stand in the tree already.
    """
    for leaf in sorted(tree.leaves(), key=_rank):
        queue = [leaf.cell]
        for cell in queue:
            fixed = decided.on(cell)
            if fixed is None or not _meets(tree, cell, fixed):
                continue
            point = tuple(
                fixed[i] if i in fixed else axis.centre(cell[i])
                for i, axis in enumerate(tree.axes)
            )
            if decided.is_whole(cell) and not tree.has(point, but=but):
                yield point
            longest = _longest(tree, cell, fixed)
            queue += () if longest is None else tree.parts(cell, longest)


def _meets(tree: Tree, cell: Cell, fixed: Mapping[int, Coordinate]) -> bool:
    return all(tree.axes[i].holds(cell[i], x) for i, x in fixed.items())


def _rank(leaf: Node) -> tuple[bool, float, int, Order]:
    value = leaf.value  # none while it is empty, in flight, or waits to be cut
    if leaf.state is State.OPENING:
        readings = (observation.reading for observation in leaf.observations.values())
        value = min((r for r in readings if not isinstance(r, Reading)), default=math.nan)
    known = not math.isnan(value)
    return not known, value if known else 0.0, leaf.depth, leaf.order


def _longest(tree: Tree, cell: Cell, fixed: Mapping[int, Coordinate]) -> int | None:
    """The lowest of the longest free axes that can still be cut."""
    sides = {
        i: axis.side(cell[i])
        for i, axis in enumerate(tree.axes)
        if i not in fixed and axis.cut(cell[i])
    }
    best = max(sides.values(), default=Fraction(0))
    return next((i for i, side in sides.items() if side == best), None)
