"""The rule BaMSOO as published (Wang et al. 2014): SOO's sweep, where bounds spare evaluations.

Notation (Wang et al. 2014, algorithm 3, turned to minimise):

=============  ================================================================================
``D``          the evidence: points and values known so far
``mu, sigma``  mean and standard deviation of the belief given D at a cell's centre
``N``          cells considered so far, evaluated or not
``B_N``        sqrt(2 log(pi^2 N^2 / (6 eta))), equation 3
``L, U``       mu - B_N sigma and mu + B_N sigma
``f+``         the incumbent's value
``g``          the value of a cell: observed, else U of the moment when it was spared
=============  ================================================================================

A new cell is evaluated if L <= f+, that is if it may hold a better value; else it is spared, takes
g = U and is opened like any other. A bound, once given, stays: the trial that gave it carries it.
The paper says nothing of cells whose centre is new and whose parent was spared: they are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import math
from typing import final

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._core.tree import Tree
from optuna_partition._rules import soo
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import centres
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.believing import BeliefPartition
from optuna_partition._rules.believing import BeliefRule
from optuna_partition._rules.believing import Cursor
from optuna_partition._rules.believing import PUBLISHED
from optuna_partition._rules.rule import Choice


__all__ = ["BaMSOO2014"]

_MOST_SPARED = 100
"""Cells spared by one ask; then one is evaluated, for a sure model would spare for ever."""


@final
@dataclass(frozen=True)
class BaMSOO2014(BeliefRule):
    """The rule with a belief.

    Args:
        belief: The model over the axes of a space.
        eta: Chance that a bound fails, in (0, 1]; larger spares more.
    """

    belief: Beliefs
    eta: float

    @property
    def name(self) -> str:
        return f"{PUBLISHED}{self.eta:g}"

    def with_belief(self, swept: soo.Swept) -> BeliefPartition:
        return _Published(swept, self.belief, self.eta)


@dataclass(slots=True)
class _Asking:
    """One ask on its way."""

    cursor: Cursor
    posterior: Posterior | None
    opened: list[Cell] = field(default_factory=list)
    bounds: list[tuple[Cell, float]] = field(default_factory=list)

    def choice(self, leaf: Node | None) -> Choice[Cursor]:
        cell = None if leaf is None else leaf.cell
        return Choice(cell, tuple(self.opened), self.cursor, bounds=tuple(self.bounds))


@final
class _Published(BeliefPartition):
    def __init__(self, swept: soo.Swept, belief: Beliefs, eta: float) -> None:
        super().__init__(swept)
        self._belief, self._eta = belief, eta

    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        """Opens cells and spares their children until there is one to evaluate.

        In a finite space the cells that were spared and can not be cut come last.
        """
        tree = self.tree
        if (leaf := _interrupted(tree)) is not None:
            return Choice(leaf.cell, (), cursor)
        posterior, fit = renewed(self._belief(tree.axes), Evidence.of(tree), cursor.fit)
        asking = _Asking(replace(cursor, fit=fit), posterior)
        while True:
            leaf = tree.ranking.first_empty()
            if leaf is not None and not self._spares(leaf, asking):
                return asking.choice(leaf)
            if leaf is None and not self._opens_next(asking):
                return asking.choice(tree.least_bounded())

    def _spares(self, leaf: Node, asking: _Asking) -> bool:
        """Whether a cell's centre is surely no improvement; then the cell gets its bound."""
        incumbent, posterior = self.tree.incumbent, asking.posterior
        if posterior is None or incumbent is None or len(asking.bounds) >= _MOST_SPARED:
            return False
        try:
            mean, deviation = posterior.bounds(centres(self.tree.axes, [leaf.cell]))
        except BeliefFailed:
            return False
        breadth = _breadth(self.tree.considered, self._eta) * float(deviation[0])
        if float(mean[0]) - breadth <= incumbent:
            return False
        value = float(mean[0]) + breadth
        self.tree.bound(leaf, value)
        asking.bounds.append((leaf.cell, value))
        return True

    def _opens_next(self, asking: _Asking) -> bool:
        """Opens the cell that the sweep opens next; whether there is one."""
        cell, sweep = self.swept.open_next(asking.cursor.sweep)
        if cell is not None:
            asking.opened.append(cell)
            asking.cursor = replace(asking.cursor, sweep=sweep)
        return cell is not None


def _interrupted(tree: Tree) -> Node | None:
    """The leaf whose evaluation was interrupted, if it waits for one: that was decided."""
    cell = tree.first_interrupted()
    leaf = None if cell is None else tree.leaf(cells.centre(tree.axes, cell))
    return leaf if leaf is not None and tree.is_empty(leaf) else None


def _breadth(n: int, eta: float) -> float:
    """B_N, equation 3."""
    return math.sqrt(max(0.0, 2 * math.log(math.pi**2 * n**2 / (6 * eta))))
