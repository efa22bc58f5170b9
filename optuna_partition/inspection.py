"""What a partition sampler made of a study: reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._core import cells as geometry
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Node
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.believing import ReadOnlyRule
from optuna_partition._rules.direct import DIRECT
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.soo import SOO
from optuna_partition._space.branching import Branches
from optuna_partition._space.conditional import ConditionalSpace
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space
from optuna_partition._study.attributes import Ask
from optuna_partition._study.fold.history import History
from optuna_partition._study.fold.readings import has_told
from optuna_partition._study.fold.readings import is_feasible
from optuna_partition._study.fold.readings import sign_of


__all__ = ["CellInfo", "TreeCell", "cells", "is_feasible", "search_space", "tree", "unit"]


def _rule(name: str) -> Rule[Any]:
    """The rule that a trial names."""
    rules = SOO.named(name), DIRECT.named(name), ReadOnlyRule.named(name)
    rule = next((rule for rule in rules if rule is not None), None)
    if rule is None:
        raise ValueError(
            f"`rule` of a trial must be one of this version's, but got ({name!r}); "
            "use the version of optuna-partition that the study was made with."
        )
    return rule


@dataclass(frozen=True)
class CellInfo:
    """One cell of the partition.

    Args:
        low: Parameter name -> lower end in the unit cube, on the axis as the sampler cuts it.
        high: The same for the upper end.
        depth: Number of cuts from the whole space.
        value: The best feasible value observed inside, None when there is none yet.
        trials: Numbers of the trials inside.
    """

    low: Mapping[str, float]
    high: Mapping[str, float]
    depth: int
    value: float | None
    trials: tuple[int, ...]


@dataclass(frozen=True)
class TreeCell:
    """One cell of the tree, whether it is still in the partition or was opened.

    Args:
        cell: The cell; an opened one has the best value and the trials of all inside it.
        parent: Position in `tree` of the cell whose opening made it, None for the whole space.
        opened: Whether it was opened, so that its children stand for it in the partition.
        evaluated: Numbers of the trials that evaluated its centre: those asked to, and of the
            others those that lie there and in the centre of no larger cell.
    """

    cell: CellInfo
    parent: int | None
    opened: bool
    evaluated: tuple[int, ...]


def cells(study: Study) -> list[CellInfo]:
    """The cells that partition the space of a study now, from left to right.

    Args:
        study: Its newest trial that a partition sampler asked for tells rule and space; of a
            conditional space that trial's branch is shown.

    Returns:
        Disjoint cells that cover the space; empty if no trial is from a partition sampler.
    """
    return [entry.cell for entry in tree(study) if not entry.opened]


def tree(study: Study) -> list[TreeCell]:
    """All cells of a study's tree, a parent before its children and these from left to right.

    Args:
        study: As for `cells`, which are the entries of this list that are not opened.

    Returns:
        The whole space first; empty if no trial is from a partition sampler.
    """
    trials = study.get_trials(deepcopy=False)
    newest = _newest(trials)
    if newest is None:
        return []
    ask, space = newest
    sign = sign_of(study.direction)
    whole: AnySpace = space
    root, branches = None, _conditional(trials)
    branch = None if branches is None else branches.branch(ask.named)
    if branches and branch and branches.opened(branch).space == space.fingerprint:
        whole = branches
        root = _grown(whole, _rule(ask.rule), sign, trials).node(branch)
    if root is None:  # it was asked for over another space, or nothing led to its branch yet
        whole = space
        root = _grown(whole, _rule(ask.rule), sign, trials).root
    return _Walk(whole, space, sign, _asks(trials, whole)).over(root)


def _grown(space: AnySpace, rule: Rule[Any], sign: float, trials: Sequence[FrozenTrial]) -> Tree:
    history = History(space, rule, sign=sign)
    history.update(trials)
    return history.tree


def search_space(study: Study) -> dict[str, BaseDistribution]:
    """The parameters that `cells` cuts, in the order of its axes; empty where it is."""
    newest = _newest(study.get_trials(deepcopy=False))
    return {} if newest is None else dict(newest[1].distributions)


def unit(
    search_space: Mapping[str, BaseDistribution], params: Mapping[str, Any]
) -> dict[str, float] | None:
    """Where parameters lie in the unit cube of `cells`, or None if outside the space."""
    return Space(search_space).unit(params)


def _asked(trial: FrozenTrial) -> tuple[Ask, Space] | None:
    """What a trial carries and the space of its cell, once all parameters are in it."""
    ask = Ask.of(trial)
    if ask is None or not set(ask.axes) <= set(trial.distributions):
        return None
    return ask, Space({name: trial.distributions[name] for name in ask.axes})


def _newest(trials: Sequence[FrozenTrial]) -> tuple[Ask, Space] | None:
    return next((found for trial in reversed(trials) if (found := _asked(trial))), None)


def _conditional(trials: Sequence[FrozenTrial]) -> AnySpace | None:
    """The space of all branches, if there are some."""
    root = Branches(has_told).root(trials)
    return None if root is None or root.decider is None else ConditionalSpace(root)


def _asks(trials: Sequence[FrozenTrial], space: AnySpace) -> dict[Cell, tuple[int, ...]]:
    """Cell -> the trials that were asked to evaluate its centre."""
    found: dict[Cell, tuple[int, ...]] = {}
    for trial in trials:
        ask = Ask.of(trial)
        cell = None if ask is None else space.lift(ask.named)
        if cell is not None:
            found[cell] = (*found.get(cell, ()), trial.number)
    return found


@dataclass(frozen=True)
class _Walk:
    """Nodes -> what people see of them.

    Args:
        whole: What the tree is kept over.
        space: What is shown of it.
        sign: +1 when the study minimises, -1 when it maximises.
        asks: Cell -> the trials that were asked to evaluate its centre.
    """

    whole: AnySpace
    space: Space
    sign: float
    asks: Mapping[Cell, tuple[int, ...]]

    def over(self, root: Node) -> list[TreeCell]:
        nodes: list[tuple[Node, int | None]] = []
        stack: list[tuple[Node, int | None]] = [(root, None)]
        while stack:
            node, parent = stack.pop()
            stack.extend((child, len(nodes)) for child in reversed(node.children))
            nodes.append((node, parent))
        inside = _inside(nodes)
        evaluated = self._evaluated(nodes)
        return [
            TreeCell(
                cell=self._info(node, *inside[i]),
                parent=parent,
                opened=bool(node.children),
                evaluated=tuple(evaluated.get(i, ())),
            )
            for i, (node, parent) in enumerate(nodes)
        ]

    def _evaluated(self, nodes: Sequence[tuple[Node, int | None]]) -> dict[int, list[int]]:
        """Position in `nodes` -> the trials that evaluated that centre."""
        found = {i: list(self.asks.get(node.cell, ())) for i, (node, _) in enumerate(nodes)}
        asked = {number for numbers in found.values() for number in numbers}
        for i, (node, _) in enumerate(nodes):
            for number in set(_trials(node)) - asked:
                largest = self._largest(nodes, i, node.observations[number].point)
                if largest is not None:
                    found[largest].append(number)
        return {i: sorted(numbers) for i, numbers in found.items()}

    def _largest(
        self, nodes: Sequence[tuple[Node, int | None]], leaf: int, point: Point
    ) -> int | None:
        """The largest cell around a leaf that has the point as its centre."""
        largest = None
        i: int | None = leaf
        while i is not None and geometry.at_centre(self.whole.axes, nodes[i][0].cell, point):
            largest, i = i, nodes[i][1]
        return largest

    def _info(self, node: Node, value: float, trials: Sequence[int]) -> CellInfo:
        cell = self.whole.opened(node.cell).cell
        ends = [axis.ends(i) for axis, i in zip(self.space.axes, cell, strict=True)]
        names = list(self.space.distributions)
        return CellInfo(
            low=dict(zip(names, (low for low, _ in ends), strict=True)),
            high=dict(zip(names, (high for _, high in ends), strict=True)),
            depth=node.depth,
            value=None if math.isnan(value) else self.sign * value,
            trials=tuple(sorted(trials)),
        )


def _inside(nodes: Sequence[tuple[Node, int | None]]) -> list[tuple[float, list[int]]]:
    """The best value and the trials inside each; children come after their parents."""
    values = [_best(node) for node, _ in nodes]
    trials = [_trials(node) for node, _ in nodes]
    for i in range(len(nodes) - 1, 0, -1):
        parent = nodes[i][1]
        assert parent is not None
        trials[parent] += trials[i]
        if math.isnan(values[parent]) or values[i] < values[parent]:
            values[parent] = values[i]
    return list(zip(values, trials, strict=True))


def _trials(node: Node) -> list[int]:
    """Those that lie in a leaf; below 0 is what only says that a centre cannot be evaluated."""
    return [number for number in node.observations if number >= 0]


def _best(node: Node) -> float:
    """The best value observed; a failed cell's repaired value is the rule's alone."""
    readings = [o.reading for o in node.observations.values()]
    return min((r for r in readings if not isinstance(r, Reading)), default=math.nan)
