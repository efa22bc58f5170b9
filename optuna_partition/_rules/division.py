"""How DIRECT samples a cell and cuts it; reads and cuts a tree, decides nothing.

Notation of `direct.py`. A cell is sampled at c + delta e_i and c - delta e_i on each of its
longest axes I, and cut on them in the order of w_i, so that the best samples get the largest cells
(Jones 1993, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from operator import itemgetter
from typing import TypeAlias

from optuna_partition._core import cells
from optuna_partition._core.axes import Interval
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Node
from optuna_partition._core.node import Order
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree


__all__ = [
    "CENTRE",
    "Places",
    "Sample",
    "best_value",
    "divide",
    "first_told",
    "is_told",
    "readings_of",
    "sampled",
    "samples",
]

Sample: TypeAlias = tuple[int, Interval]
"""A point on an axis through a cell's centre: the axis, and the part of it whose centre it is."""
CENTRE: Sample = (-1, (0, 0))
"""What stands for a cell's own centre among its samples."""
Places: TypeAlias = dict[int, tuple[Point, Sample | None]]
"""Trial number -> its point, and which sample of the cell that is, if it is one."""
_Readings: TypeAlias = dict[Sample, list[float | Reading]]


def best_value(readings: Sequence[float | Reading]) -> float:
    """The best of the values, infinite where there is none."""
    return min((r for r in readings if not isinstance(r, Reading)), default=math.inf)


def is_told(readings: Sequence[float | Reading]) -> bool:
    """Whether a trial has ended there, with a value or without."""
    return any(reading is not Reading.FLYING for reading in readings)


def first_told(readings: Sequence[float | Reading]) -> float:
    """What the first trial there said that has ended; infinite where that is no value.

    A cell is cut as soon as there is one, and those that begin later must leave it as it is.
    """
    return best_value([reading for reading in readings if reading is not Reading.FLYING][:1])


def _longest(node: Node) -> list[int]:
    most = max(node.sides)
    return [i for i, side in enumerate(node.sides) if side == most]


def samples(tree: Tree, node: Node) -> list[Sample]:
    """c + delta e_i, c - delta e_i, in the order of evaluation."""
    return [
        (i, part) for i in _longest(node) for part in cells.outer_parts(tree.axes[i], node.cell[i])
    ]


def sampled(node: Node, sample: Sample) -> Cell:
    """The cell whose centre is the sample."""
    i, part = sample
    return node.cell[:i] + (part,) + node.cell[i + 1 :]


def readings_of(tree: Tree, node: Node, places: Places) -> _Readings:
    """What is known at the samples of a cell and at its centre, by trial number.

    A trial that is overdue has failed, as far as a cell waits for it.

    Args:
        tree: The tree.
        node: A leaf.
        places: Where in the leaf its observations are, as far as that is known; completed here.
    """
    found: _Readings = {}
    for number, observation in sorted(node.observations.items(), key=itemgetter(0)):
        point, place = places.get(number, (None, None))
        if point is not observation.point:
            place = _place(tree, node, observation.point)
            places[number] = observation.point, place
        if place is not None:
            is_overdue = observation.reading is Reading.FLYING and number in tree.overdue
            reading = Reading.FAILED if is_overdue else observation.reading
            found.setdefault(place, []).append(reading)
    return found


def _place(tree: Tree, node: Node, point: Point) -> Sample | None:
    """The sample of a cell that a point is, `CENTRE`, or None."""
    centre = cells.centre(tree.axes, node.cell)
    pairs = enumerate(zip(point, centre, strict=True))
    off = [i for i, (x, c) in pairs if x is not c and not tree.axes[i].at_centre(node.cell[i], x)]
    if len(off) != 1:
        return None if off else CENTRE
    i = off[0]
    axis = tree.axes[i]
    parts = cells.outer_parts(axis, node.cell[i])
    return next(((i, part) for part in parts if axis.at_centre(part, point[i])), None)


def divide(tree: Tree, node: Node, stamp: Order, values: dict[Sample, float]) -> None:
    """Cuts a cell on its longest axes, the one with the best sample first.

    Args:
        tree: The tree.
        node: The cell, a leaf.
        stamp: The iteration that opened it, and its place in that; new cells come in this order.
        values: By sample, the value there.
    """
    axes = _longest(node)
    pairs = {i: [sample for sample in values if sample[0] == i] for i in axes}
    orders: dict[Sample, Order] = {}
    for rank, i in enumerate(axes):
        for k, sample in enumerate(sorted(pairs[i], key=values.__getitem__)):
            orders[sample] = (*stamp, 2 * rank + k)
    by_sample = sorted(axes, key=lambda i: min(values[sample] for sample in pairs[i]))
    cuts = []
    for k, i in enumerate(by_sample):
        middle = (*stamp, 2 * len(axes) + k)  # behind all new ones, as it is put in last
        parts = tree.axes[i].cut(node.cell[i])
        cuts.append((i, [orders.get((i, part), middle) for part in parts]))
    tree.cut(node, *cuts)
