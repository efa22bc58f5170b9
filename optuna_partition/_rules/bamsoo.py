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

from collections.abc import Callable
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
import math
from typing import Any

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.node import Node
from optuna_partition._core.tree import Tree
from optuna_partition._rules import soo
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import centres
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Fit
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Rule


__all__ = ["Cursor", "bamsoo", "bamsoo_named", "believing"]

DEFAULT = "bamsoo"
"""Name of the rule in `_hybrid`, whose trials are read like the published one's."""

_PUBLISHED = "bamsoo-2014 eta="
MOST_SPARED = 100
"""Cells spared by one ask; then one is evaluated, for a sure model would spare for ever."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the sweep stands, and what the last fit of the belief found."""

    sweep: soo.Cursor
    fit: Fit


@dataclass(slots=True)
class _Asking:
    """One ask on its way."""

    tree: Tree
    cursor: Cursor
    posterior: Posterior | None
    eta: float
    opened: list[Cell] = field(default_factory=list)
    bounds: list[tuple[Cell, float]] = field(default_factory=list)

    def choice(self, leaf: Node | None) -> Choice[Cursor]:
        cell = None if leaf is None else leaf.cell
        return Choice(cell, tuple(self.opened), self.cursor, bounds=tuple(self.bounds))


def _choose(tree: Tree, cursor: Cursor, *, belief: Beliefs, eta: float) -> Choice[Cursor]:
    """Opens cells and spares their children until there is one to evaluate.

    In a finite space the cells that were spared and can not be cut come last.
    """
    leaf = _interrupted(tree)
    if leaf is not None:
        return Choice(leaf.cell, (), cursor)
    posterior, fit = renewed(belief(tree.axes), Evidence.of(tree), cursor.fit)
    asking = _Asking(tree, replace(cursor, fit=fit), posterior, eta)
    while True:
        leaf = tree.first_empty()
        if leaf is not None and not _spared(asking, leaf):
            return asking.choice(leaf)
        if leaf is None and not _open_next(asking):
            return asking.choice(tree.least_bounded())


def _interrupted(tree: Tree) -> Node | None:
    """The leaf whose evaluation was interrupted, if it waits for one: that was decided."""
    cell = tree.first_interrupted()
    leaf = None if cell is None else tree.leaf(cells.centre(tree.axes, cell))
    return leaf if leaf is not None and tree.is_empty(leaf) else None


def _spared(asking: _Asking, leaf: Node) -> bool:
    """Whether a cell's centre is surely no improvement; then the cell gets its bound."""
    tree, posterior = asking.tree, asking.posterior
    if posterior is None or tree.incumbent is None or len(asking.bounds) >= MOST_SPARED:
        return False
    try:
        mean, deviation = posterior.bounds(centres(tree.axes, [leaf.cell]))
    except BeliefFailed:
        return False
    breadth = _breadth(tree.considered, asking.eta) * float(deviation[0])
    if float(mean[0]) - breadth <= tree.incumbent:
        return False
    value = float(mean[0]) + breadth
    tree.bound(leaf, value)
    asking.bounds.append((leaf.cell, value))
    return True


def _breadth(n: int, eta: float) -> float:
    """B_N, equation 3."""
    return math.sqrt(max(0.0, 2 * math.log(math.pi**2 * n**2 / (6 * eta))))


def _open_next(asking: _Asking) -> bool:
    cell, sweep = soo.open_next(asking.tree, asking.cursor.sweep)
    if cell is not None:
        asking.opened.append(cell)
        asking.cursor = replace(asking.cursor, sweep=sweep)
    return cell is not None


def _join(a: Cursor, b: Cursor) -> Cursor:
    return Cursor(soo.SOO.join(a.sweep, b.sweep), max(a.fit, b.fit))


def _dump(cursor: Cursor) -> tuple[Any, ...]:
    return *astuple(cursor.sweep), cursor.fit.n_values, list(cursor.fit.theta)


def _load(*values: Any) -> Cursor:
    *sweep, n_values, theta = values
    return Cursor(soo.Cursor(*sweep), Fit(n_values, tuple(theta)))


def _open(tree: Tree, cell: Cell, cursor: Cursor, place: int) -> None:
    soo.SOO.open(tree, cell, cursor.sweep, place)


def _bound(tree: Tree, cell: Cell, value: float) -> None:
    node = soo.reach(tree, cell)
    assert node is not None, f"{cell} is no cell of the space"
    tree.bound(node, value)


def believing(name: str, choose: Callable[[Tree, Cursor], Choice[Cursor]]) -> Rule[Cursor]:
    """A rule on SOO's tree whose cursor also carries the fit of a belief."""
    return Rule(
        name=name,
        plant=soo.SOO.plant,
        start=Cursor(soo.SOO.start, Fit(0, ())),
        join=_join,
        choose=choose,
        open=_open,
        settle=soo.SOO.settle,
        dump=_dump,
        load=_load,
        bound=_bound,
    )


def bamsoo(belief: Beliefs, eta: float) -> Rule[Cursor]:
    """The rule with a belief.

    Args:
        belief: The model over the axes of a space.
        eta: Chance that a bound fails, in (0, 1]; larger spares more.
    """
    return believing(f"{_PUBLISHED}{eta:g}", partial(_choose, belief=belief, eta=eta))


def bamsoo_named(name: str) -> Rule[Cursor] | None:
    """The rule of a name, to read a study with; it cannot choose."""
    known = name == DEFAULT or name.startswith(_PUBLISHED)
    return believing(name, _unable) if known else None


def _unable(tree: Tree, cursor: Cursor) -> Choice[Cursor]:
    raise AssertionError("a rule without a belief chooses nothing")
