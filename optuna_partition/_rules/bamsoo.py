"""The rule of the default BaMSOO: a belief chooses in the whole space, SOO's sweep in its turn.

Notation:

===============  ==============================================================================
start            the centre of the space, then small Latin hypercubes, until trials have taken
                 as many trainings as the first one has points; while too few have ended for a
                 model, further ones and the sweep in turn
belief's turn    the most promising point of the whole space, by the model's acquisition; or one
                 of the best points once more, where that is worth more under noise
star             the outer parts of every axis through the centre, each cut off of what the axes
                 before it have left
sweep's turn     the most promising point of one cell: the next one that a sweep of SOO opens;
                 every other time an empty one of the star's, while there are any
value of a leaf  the least mean of the belief at the points observed inside it; where there are
                 none, its mean at the centre
===============  ==============================================================================

The tree is cut around a point until it is alone in its leaf, so the depth of a leaf says how much
is known near it; a sweep visits every depth, so that every cell's turn comes whatever the model
believes. Where the model fails, the rule is SOO.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import lru_cache
from itertools import chain
import math
from typing import final

import numpy as np

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Node
from optuna_partition._core.node import Reading
from optuna_partition._core.node import State
from optuna_partition._rules import soo
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import box
from optuna_partition._rules.belief import centres
from optuna_partition._rules.belief import FEWEST_VALUES
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.belief import units
from optuna_partition._rules.believing import BeliefPartition
from optuna_partition._rules.believing import BeliefRule
from optuna_partition._rules.believing import Cursor
from optuna_partition._rules.believing import DEFAULT
from optuna_partition._rules.evidence import evidence_of
from optuna_partition._rules.evidence import Reports
from optuna_partition._rules.evidence import trainings_saved
from optuna_partition._rules.repeats import tells
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.source import Knowledge
from optuna_partition._rules.source import starts


__all__ = ["BaMSOO", "STARTS"]

STARTS = 5
"""Trials before the model is asked: the centre, and a Latin hypercube of the others.

One that was stopped counts by its share of a training, and further hypercubes follow.
"""
MOST_STARTS = 9
STARTS_OF_SOURCES = 2
"""The same where there are earlier studies: their best points."""
_DRAWS = 16  # hypercubes, of which that is taken whose points are farthest apart
SURE_PER_AXIS = 2
"""Trials per parameter, and as many more, before a model can tell noise from the function."""
SWEEP_EVERY = 3
CUTS_PER_AXIS = 2
"""How far an ask cuts around its point; two that are closer stay together in a leaf."""


@final
@dataclass(frozen=True)
class BaMSOO(BeliefRule):
    """The rule with a belief.

    Args:
        belief: The model over the axes of a space.
        period: Every so many asks it is the sweep's turn.
        deterministic: Whether no point is evaluated twice.
        seed: Varies where it starts.
        resumes: Whether stopped trials may be taken up.
    """

    belief: Beliefs
    period: int = SWEEP_EVERY
    deterministic: bool = False
    seed: int = 0
    resumes: bool = True

    @property
    def name(self) -> str:
        return DEFAULT

    def with_belief(self, swept: soo.Swept) -> BeliefPartition:
        return _Isolating(swept, self)


@dataclass(slots=True)
class _Asking:
    """One ask on its way."""

    cursor: Cursor
    opened: list[Cell] = field(default_factory=list)

    def choice(self, cell: Cell | None, at: Cell | None = None) -> Choice[Cursor]:
        return Choice(cell, tuple(self.opened), self.cursor, None if at == cell else at)


@final
class _Isolating(BeliefPartition):
    """A tree that is cut around the points of trials, until each is alone."""

    def __init__(self, swept: soo.Swept, rule: BaMSOO) -> None:
        super().__init__(swept)
        self._rule = rule
        self._reports: dict[int, Reports] = {}
        self._known = Knowledge()

    def remember(self, knowledge: Knowledge) -> None:
        self._known = knowledge

    def hear(self, number: int, reports: Sequence[tuple[float, float]], end: float | None) -> None:
        steps, values = zip(*reports, strict=True)
        self._reports[number] = Reports(steps, values, end)

    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        asking = _Asking(cursor)
        cell = self.tree.first_interrupted()
        if cell is not None:  # what it was to bring about is in the tree and the cursor
            return asking.choice(self._isolated(cell, asking), cell)
        at = self._next_of_start() or self._believed(asking) or self._beyond_start()
        if at is None:
            return self._plain(asking)
        point = cells.centre(self.tree.axes, at)
        if self.tree.has(point):
            return replace(asking.choice(self.tree.leaf(point).cell, at), repeats=True)
        return asking.choice(self._isolated(at, asking), at)

    def _next_of_start(self) -> Cell | None:
        """The next point of the start that nobody evaluates, while trials are few."""
        n = len(self.tree.numbers())
        if n >= MOST_STARTS:
            return None
        if n - trainings_saved(self.tree.said(), self._reports) >= STARTS:
            return None
        cubes = range((MOST_STARTS - 1) // (STARTS - 1))
        spread = (_spread(self.tree.axes, self._rule.seed, cube) for cube in cubes)
        start = (self.tree.root.cell, *chain.from_iterable(spread))
        if self._known.sources:
            axes = self.tree.axes
            start = tuple(_pinned(axes, x) for x in starts(self._known.sources, STARTS_OF_SOURCES))
        return next((at for at in start if not self.tree.is_asked(at)), None)

    def _beyond_start(self) -> Cell | None:
        """A point of one more hypercube at every other ask, while no model can be asked.

        Workers that begin together are to look everywhere. A sweep alone would have them all look
        around the centre.
        """
        n = len(self.tree.numbers())
        if n % 2 or len(self.tree.known()) >= FEWEST_VALUES:
            return None
        cube = (n + 2) // (2 * (STARTS - 1))  # 0 is the start's
        further = _spread(self.tree.axes, self._rule.seed, cube)
        return next((at for at in further if not self.tree.is_asked(at)), None)

    def _believed(self, asking: _Asking) -> Cell | None:
        """The tiny cell around the point of the belief's turn or the sweep's, if there is one."""
        evidence = evidence_of(self.tree, self._reports, resumes=self._rule.resumes)
        evidence = replace(evidence, sources=self._known.sources)
        belief = self._rule.belief(self.tree.axes, self._known.features)
        posterior, fit = renewed(belief, evidence, asking.cursor.fit)
        asking.cursor = replace(asking.cursor, fit=fit)
        if posterior is None:
            return None
        turn, rest = divmod(evidence.n_ended + len(evidence.pending), self._rule.period)
        try:
            if rest == 0:
                at = self._next_of_star(posterior, asking) if turn % 2 == 0 else None
                return at or self._promising(posterior, self._turn(posterior, asking))
            at = self._promising(posterior, self.tree.root)
            return self._better_again(posterior, at) or at
        except BeliefFailed:
            return None

    def _better_again(self, posterior: Posterior, new: Cell | None) -> Cell | None:
        """The tiny cell of a point that is better evaluated again than a new one is.

        It may have been stopped on its way, and then goes on; else it is a repeat.
        """
        axes = self.tree.axes
        if new is None or not self.may_repeat:
            return None
        early = len(self.tree.numbers()) < SURE_PER_AXIS * (len(axes) + 1)
        only = self._rule.deterministic or early
        x = posterior.worth_repeating(centres(axes, [new])[0], stopped_only=only)
        if x is None:
            return None
        at = _pinned(axes, x)
        point = cells.centre(axes, at)
        return at if not self.tree.has(point) or self._tells(point) else None

    def _tells(self, point: Point) -> bool:
        """Whether there is something to learn at a point where trials have been."""
        is_open = {number for number, told in self._reports.items() if told.end is None}
        lost = (Reading.FLYING, Reading.FAILED)
        stopped = is_open - {n for n, o in self.tree.said().items() if o.reading in lost}
        return tells(self.tree, point, stopped)

    def _next_of_star(self, posterior: Posterior, asking: _Asking) -> Cell | None:
        """The most promising point of the star's leaf that may be best, of the empty ones.

        The model likes best what it knows. Here it has to say what is best where it knows nothing:
        with the first axis in its lower third, for one, and all others as they may be.
        """
        leaves = list(self._star(asking))
        if not leaves:
            return None
        means, deviations = posterior.bounds(
            centres(self.tree.axes, (leaf.cell for leaf in leaves))
        )
        return self._promising(posterior, leaves[int(np.argmin(means - deviations))])

    def _star(self, asking: _Asking) -> Iterator[Node]:
        """The outer parts of every axis through the centre, opening the centre cell by axes."""
        tree = self.tree
        node, centre = tree.root, cells.centre(tree.axes, tree.root.cell)
        for _ in tree.axes:
            if node.axis is None:
                return
            if not node.children:
                self._cut(node, asking)
            yield from (child for child in node.children if tree.is_empty(child))
            node = tree.child(node, centre)

    def _turn(self, posterior: Posterior, asking: _Asking) -> Node:
        """The cell whose turn it is in the sweep; the whole space if there is none."""
        valued = self._valued(posterior)

        def best(depth: int) -> tuple[float, Node] | None:
            return min(valued.get(depth, []), key=lambda pair: pair[0], default=None)

        found = self.swept.advance(asking.cursor.sweep, best)
        if found is None:
            return self.tree.root
        leaf, sweep = found
        asking.cursor = replace(asking.cursor, sweep=sweep)
        return leaf

    def _valued(self, posterior: Posterior) -> dict[int, list[tuple[float, Node]]]:
        """The leaves that may have their turn, with their values, by depth."""
        axes = self.tree.axes
        places = [(leaf, x) for leaf in self.tree.leaves() for x in self._places(leaf)]
        means, _ = posterior.bounds(units(axes, (x for _, x in places)))
        values: dict[Node, float] = {}
        for (leaf, _), mean in zip(places, means, strict=True):
            values[leaf] = min(float(mean), values.get(leaf, math.inf))
        found: dict[int, list[tuple[float, Node]]] = {}
        for leaf in self.tree.leaves():
            value = values.get(leaf)
            if value is None and leaf.state is State.FAILED and leaf.axis is not None:
                value = leaf.value
            if value is not None:
                found.setdefault(leaf.depth, []).append((value, leaf))
        return found

    def _places(self, leaf: Node) -> list[Point]:
        """Where the model says what a leaf is worth: where it has values, or at its centre.

        While nothing is feasible it says how likely that is, also where it was found not to be.
        """
        if self.tree.is_empty(leaf):
            return [cells.centre(self.tree.axes, leaf.cell)]
        if leaf.axis is None:
            return []
        lost = {Reading.INFEASIBLE, Reading.FAILED} if self.tree.incumbent is None else set()
        known = leaf.observations.values()
        return [o.point for o in known if not isinstance(o.reading, Reading) or o.reading in lost]

    def _promising(self, posterior: Posterior, node: Node) -> Cell | None:
        """The tiny cell around the most promising point of a cell that nobody has asked for."""
        axes = self.tree.axes
        for x in posterior.promising(box(axes, node.cell)):
            at = _pinned(axes, x)
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


def _pinned(axes: Sequence[Axis], x: Array) -> Cell:
    """The tiny cell around a point of the unit cube."""
    return tuple(axis.pin(float(u)) for axis, u in zip(axes, x, strict=True))


@lru_cache(maxsize=16)
def _spread(axes: tuple[Axis, ...], seed: int, cube: int = 0) -> tuple[Cell, ...]:
    """A Latin hypercube: in every axis each of as many parts has one point."""
    rng, n = np.random.default_rng([seed, len(axes), cube]), STARTS - 1
    strata = rng.permuted(np.tile(np.arange(n), (_DRAWS, len(axes), 1)), axis=-1)
    drawn = ((strata + rng.random(strata.shape)) / n).swapaxes(1, 2)  # (_DRAWS, n, D)
    first, second = np.triu_indices(n, 1)
    nearest = np.linalg.norm(drawn[:, first] - drawn[:, second], axis=-1).min(axis=-1)
    return tuple(_pinned(axes, x) for x in drawn[nearest.argmax()])
