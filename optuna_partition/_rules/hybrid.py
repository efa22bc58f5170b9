"""The rule of the default BaMSOO: a belief chooses in the whole space, SOO's sweep in its turn.

Notation:

===============  ==============================================================================
star             the centre of the space, then of the outer parts of every axis: where it starts
belief's turn    the most promising point of the whole space, by the model's acquisition
sweep's turn     the most promising point of one cell: the next one that a sweep of SOO opens
value of a leaf  the best value observed inside it; where none is, the belief's mean at the centre
===============  ==============================================================================

The tree is cut around a point until it is alone in its leaf, so the depth of a leaf says how much
is known near it; a sweep visits every depth, so that every cell's turn comes whatever the model
believes. Where there is no belief yet, or the model fails, the rule is SOO.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._core.tree import Tree
from optuna_partition._rules import soo
from optuna_partition._rules.bamsoo import believing
from optuna_partition._rules.bamsoo import Cursor
from optuna_partition._rules.bamsoo import DEFAULT
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import box
from optuna_partition._rules.belief import centres
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Rule


__all__ = ["hybrid"]

SWEEP_EVERY = 3
CUTS_PER_AXIS = 2
"""How far an ask cuts around its point; two that are closer stay together in a leaf."""


@dataclass(slots=True)
class _Asking:
    """One ask on its way."""

    tree: Tree
    cursor: Cursor
    opened: list[Cell] = field(default_factory=list)

    def cut(self, leaf: Node) -> None:
        soo.cut(self.tree, leaf)
        self.opened.append(leaf.cell)

    def choice(self, cell: Cell | None, at: Cell | None = None) -> Choice[Cursor]:
        return Choice(cell, tuple(self.opened), self.cursor, None if at == cell else at)


def _choose(tree: Tree, cursor: Cursor, *, belief: Beliefs, period: int) -> Choice[Cursor]:
    """Picks a point and cuts the tree around it."""
    asking = _Asking(tree, cursor)
    cell = tree.first_interrupted()
    if cell is not None:  # what it was to bring about is in the tree and the cursor
        return asking.choice(_isolated(asking, cell), cell)
    leaf = _next_of_star(asking)
    if leaf is not None:
        return asking.choice(leaf.cell)
    evidence = Evidence.of(tree)
    posterior, fit = renewed(belief(tree.axes), evidence, cursor.fit)
    asking.cursor = replace(asking.cursor, fit=fit)
    is_sweeps = (evidence.n_values + len(evidence.pending)) % period == 0
    at = None if posterior is None else _believed(asking, posterior, is_sweeps)
    if at is None:
        return _plain(asking)
    return asking.choice(_isolated(asking, at), at)


def _believed(asking: _Asking, posterior: Posterior, is_sweeps: bool) -> Cell | None:
    """The tiny cell around the point of the belief's turn or the sweep's, if there is one."""
    try:
        where = _swept(asking, posterior) if is_sweeps else asking.tree.root
        return _promising(asking, posterior, where)
    except BeliefFailed:
        return None


def _next_of_star(asking: _Asking) -> Node | None:
    """The next leaf of the star that nobody evaluates, opening the centre cell axis by axis."""
    tree = asking.tree
    node, centre = tree.root, cells.centre(tree.axes, tree.root.cell)
    if tree.is_empty(node):
        return node
    for _ in tree.axes:
        if node.axis is None:
            break
        if not node.children:
            asking.cut(node)
        for child in node.children:
            if tree.is_empty(child):
                return child
        node = tree.child(node, centre)
    return None


def _swept(asking: _Asking, posterior: Posterior) -> Node:
    """The cell whose turn it is in the sweep; the whole space if there is none."""
    empty = _empty(asking.tree, posterior)

    def best(depth: int) -> tuple[float, Node] | None:
        leaf = asking.tree.best(depth)
        found = [] if leaf is None else [(leaf.value, leaf)]
        return min([*found, *empty.get(depth, [])], key=lambda pair: pair[0], default=None)

    swept = soo.advance(asking.tree, asking.cursor.sweep, best)
    if swept is None:
        return asking.tree.root
    leaf, sweep = swept
    asking.cursor = replace(asking.cursor, sweep=sweep)
    return leaf


def _empty(tree: Tree, posterior: Posterior) -> dict[int, list[tuple[float, Node]]]:
    """The leaves in which nothing is observed, with the mean at their centres, by depth."""
    leaves = [leaf for leaf in tree.leaves() if tree.is_empty(leaf)]
    if not leaves:
        return {}
    means, _ = posterior.bounds(centres(tree.axes, (leaf.cell for leaf in leaves)))
    found: dict[int, list[tuple[float, Node]]] = {}
    for mean, leaf in zip(means, leaves, strict=True):
        found.setdefault(leaf.depth, []).append((float(mean), leaf))
    return found


def _promising(asking: _Asking, posterior: Posterior, node: Node) -> Cell | None:
    """The tiny cell around the most promising point of a cell that nobody has asked for."""
    axes = asking.tree.axes
    for x in posterior.promising(box(axes, node.cell)):
        at = tuple(axis.pin(float(u)) for axis, u in zip(axes, x, strict=True))
        if not asking.tree.is_asked(at):
            return at
    return None


def _isolated(asking: _Asking, at: Cell) -> Cell:
    """Cuts around a point until it is alone in a leaf, and says in which."""
    tree = asking.tree
    point = cells.centre(tree.axes, at)
    leaf = tree.leaf(point)
    for _ in range(CUTS_PER_AXIS * len(tree.axes)):
        if tree.is_empty(leaf) or leaf.axis is None:
            break
        asking.cut(leaf)
        leaf = tree.child(leaf, point)
    return leaf.cell


def _plain(asking: _Asking) -> Choice[Cursor]:
    choice = soo.SOO.choose(asking.tree, asking.cursor.sweep)
    asking.opened += choice.opened
    asking.cursor = replace(asking.cursor, sweep=choice.cursor)
    return asking.choice(choice.cell)


def hybrid(belief: Beliefs, period: int = SWEEP_EVERY) -> Rule[Cursor]:
    """The rule with a belief.

    Args:
        belief: The model over the axes of a space.
        period: Every so many asks it is the sweep's turn.
    """
    return believing(DEFAULT, partial(_choose, belief=belief, period=period))
