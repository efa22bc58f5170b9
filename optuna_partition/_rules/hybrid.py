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
from typing import final

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._rules import soo
from optuna_partition._rules.bamsoo import Believing
from optuna_partition._rules.bamsoo import Cursor
from optuna_partition._rules.bamsoo import DEFAULT
from optuna_partition._rules.bamsoo import Weighed
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import box
from optuna_partition._rules.belief import centres
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.feasible import evidence_of
from optuna_partition._rules.rule import Choice


__all__ = ["Hybrid"]

SWEEP_EVERY = 3
CUTS_PER_AXIS = 2
"""How far an ask cuts around its point; two that are closer stay together in a leaf."""


@final
@dataclass(frozen=True)
class Hybrid(Believing):
    """The rule with a belief.

    Args:
        belief: The model over the axes of a space.
        period: Every so many asks it is the sweep's turn.
    """

    belief: Beliefs
    period: int = SWEEP_EVERY

    @property
    def name(self) -> str:
        return DEFAULT

    def weighed(self, swept: soo.Swept) -> Weighed:
        return _Isolating(swept, self.belief, self.period)


@dataclass(slots=True)
class _Asking:
    """One ask on its way."""

    cursor: Cursor
    opened: list[Cell] = field(default_factory=list)

    def choice(self, cell: Cell | None, at: Cell | None = None) -> Choice[Cursor]:
        return Choice(cell, tuple(self.opened), self.cursor, None if at == cell else at)


@final
class _Isolating(Weighed):
    """A tree that is cut around the points of trials, until each is alone."""

    def __init__(self, swept: soo.Swept, belief: Beliefs, period: int) -> None:
        super().__init__(swept)
        self._belief, self._period = belief, period

    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        asking = _Asking(cursor)
        cell = self.tree.first_interrupted()
        if cell is not None:  # what it was to bring about is in the tree and the cursor
            return asking.choice(self._isolated(cell, asking), cell)
        leaf = self._next_of_star(asking)
        if leaf is not None:
            return asking.choice(leaf.cell)
        at = self._believed(asking)
        if at is None:
            return self._plain(asking)
        return asking.choice(self._isolated(at, asking), at)

    def _next_of_star(self, asking: _Asking) -> Node | None:
        """The next leaf of the star that nobody evaluates, opening the centre cell by axes."""
        tree = self.tree
        node, centre = tree.root, cells.centre(tree.axes, tree.root.cell)
        if tree.is_empty(node):
            return node
        for _ in tree.axes:
            if node.axis is None:
                break
            if not node.children:
                self._cut(node, asking)
            for child in node.children:
                if tree.is_empty(child):
                    return child
            node = tree.child(node, centre)
        return None

    def _believed(self, asking: _Asking) -> Cell | None:
        """The tiny cell around the point of the belief's turn or the sweep's, if there is one."""
        evidence = evidence_of(self.tree)
        belief = self._belief(self.tree.axes)
        posterior, fit = renewed(belief, evidence, asking.cursor.fit)
        asking.cursor = replace(asking.cursor, fit=fit)
        if posterior is None:
            return None
        is_sweeps = (evidence.n_values + len(evidence.pending)) % self._period == 0
        try:
            where = self._turn(posterior, asking) if is_sweeps else self.tree.root
            return self._promising(posterior, where)
        except BeliefFailed:
            return None

    def _turn(self, posterior: Posterior, asking: _Asking) -> Node:
        """The cell whose turn it is in the sweep; the whole space if there is none."""
        empty = self._empty(posterior)

        def best(depth: int) -> tuple[float, Node] | None:
            leaf = self.tree.best(depth)
            found = [] if leaf is None else [(leaf.value, leaf)]
            return min([*found, *empty.get(depth, [])], key=lambda pair: pair[0], default=None)

        found = self.swept.advance(asking.cursor.sweep, best)
        if found is None:
            return self.tree.root
        leaf, sweep = found
        asking.cursor = replace(asking.cursor, sweep=sweep)
        return leaf

    def _empty(self, posterior: Posterior) -> dict[int, list[tuple[float, Node]]]:
        """The leaves in which nothing is observed, with the mean at their centres, by depth."""
        leaves = [leaf for leaf in self.tree.leaves() if self.tree.is_empty(leaf)]
        if not leaves:
            return {}
        means, _ = posterior.bounds(centres(self.tree.axes, (leaf.cell for leaf in leaves)))
        found: dict[int, list[tuple[float, Node]]] = {}
        for mean, leaf in zip(means, leaves, strict=True):
            found.setdefault(leaf.depth, []).append((float(mean), leaf))
        return found

    def _promising(self, posterior: Posterior, node: Node) -> Cell | None:
        """The tiny cell around the most promising point of a cell that nobody has asked for."""
        axes = self.tree.axes
        for x in posterior.promising(box(axes, node.cell)):
            at = tuple(axis.pin(float(u)) for axis, u in zip(axes, x, strict=True))
            if not self.tree.is_asked(at):
                return at
        return None

    def _isolated(self, at: Cell, asking: _Asking) -> Cell:
        """Cuts around a point until it is alone in a leaf, and says in which."""
        tree = self.tree
        point = cells.centre(tree.axes, at)
        leaf = tree.leaf(point)
        for _ in range(CUTS_PER_AXIS * len(tree.axes)):
            if tree.is_empty(leaf) or leaf.axis is None:
                break
            self._cut(leaf, asking)
            leaf = tree.child(leaf, point)
        return leaf.cell

    def _cut(self, leaf: Node, asking: _Asking) -> None:
        self.swept.cut(leaf)
        asking.opened.append(leaf.cell)

    def _plain(self, asking: _Asking) -> Choice[Cursor]:
        """SOO's choice."""
        choice = self.swept.choose(asking.cursor.sweep)
        asking.opened += choice.opened
        asking.cursor = replace(asking.cursor, sweep=choice.cursor)
        return asking.choice(choice.cell)
