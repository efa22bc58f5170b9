"""A conditional space as axes and cells: each branch a part of one cube; knows no trial, no tree.

The axes are those of all branches. A cell is cut on a decider before all else, and what follows
from a value wakes in the part that has it alone: the axes of the branch, or the next decider. The
others sleep (`_core/growth.py`). A trial lies in the middle of the axes that sleep where it is.
Where a `kind` of "a" or "b" decides on `x` or `n`, and all trials have `y`:

==================  ==============  ======  ======  ======
cell                ``kind``        ``n``   ``x``   ``y``
==================  ==============  ======  ======  ======
the whole space     to be cut       asleep  asleep  asleep
its part "a"        one value       asleep  awake   awake
its part "b"        one value       awake   asleep  awake
==================  ==============  ======  ======  ======

Trials know nothing of this cube, which is another one as soon as there is a new branch. They carry
a cell by the names of their own branch, a point likewise; `asked` and `opened` say a cell so, and
`point_of` and `lift` find what was said in the cube there is now.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import math
from typing import Any
from typing import TypeVar

from optuna.distributions import BaseDistribution

from optuna_partition._core import cells
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.axes import Interval
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import asleep
from optuna_partition._core.growth import Decided
from optuna_partition._core.growth import Growth
from optuna_partition._space.branching import Branch
from optuna_partition._space.space import Named
from optuna_partition._space.space import Space


__all__ = ["ConditionalSpace"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Part:
    """A branch on the axes of the whole.

    Args:
        space: What its trials suggest.
        axes: Where these are among the axes of the whole.
        trunk: The deciders that lead to it, and its own.
        path: Where these are.
        decider: The axis of its own, None where nothing more is decided.
        parts: Coordinates on that axis -> what follows.
        unseen: What follows from a coordinate that no trial had, as far as that is known.
    """

    space: Space
    axes: tuple[int, ...]
    trunk: Space
    path: tuple[int, ...]
    decider: int | None
    parts: Mapping[Coordinate, _Part]
    unseen: _Part | None

    def __iter__(self) -> Iterator[_Part]:
        """This one and those that trials had behind it."""
        yield self
        for behind in self.parts.values():
            yield from behind

    def behind(self, x: Coordinate) -> _Part:
        """What follows from a coordinate on the decider's axis."""
        assert self.unseen is not None, "a part with a decider"
        return self.parts.get(x, self.unseen)

    def at(self, point: Point) -> _Part:
        """The last part, in which a point lies."""
        part = self
        while part.decider is not None:
            part = part.behind(point[part.decider])
        return part

    @property
    def named_by(self) -> tuple[Space, tuple[int, ...]]:
        """What a cell inside is named by: the deciders as long as one is open; and their axes."""
        return (self.space, self.axes) if self.decider is None else (self.trunk, self.path)


class ConditionalSpace:
    """A search space in which a parameter's value decides which others there are.

    Args:
        root: The branches, as far as trials have come to them.
    """

    def __init__(self, root: Branch) -> None:
        keys: list[tuple[str, BaseDistribution]] = []
        for branch in root:
            keys += [key for key in branch.space.distributions.items() if key not in keys]
        self._keys = sorted(keys, key=lambda key: key[0])
        self.distributions: Mapping[str, BaseDistribution] = dict(self._keys)
        self.axes = tuple(Space(dict([key])).axes[0] for key in self._keys)
        self._asleep = tuple(asleep(axis) for axis in self.axes)
        self._middle = cells.centre(self.axes, self._asleep)
        self._root = self._part(root, {})
        self.fingerprint = hashlib.sha256(_text(root).encode()).hexdigest()[:16]
        self.root = self._awake(self._asleep, self._root)
        self.size = self._size(self._root)
        self.growth: Growth = self
        self._asked: dict[tuple[tuple[str, ...], str], str | None] = {}

    def _part(self, branch: Branch, trunk: dict[str, BaseDistribution]) -> _Part:
        distributions = branch.space.distributions
        if branch.decider is not None:
            trunk = {**trunk, branch.decider: distributions[branch.decider]}
        axes, path = self._places(distributions), self._places(trunk)
        parts = {x: self._part(behind, trunk) for x, behind in branch.branches.items()}
        decider = unseen = None
        if branch.decider is not None:
            decider, unseen = path[-1], self._part(Branch(branch.space), trunk)
        return _Part(branch.space, axes, Space(trunk), path, decider, parts, unseen)

    def _places(self, distributions: Mapping[str, BaseDistribution]) -> tuple[int, ...]:
        """Where parameters are among the axes."""
        return tuple(self._keys.index(key) for key in distributions.items())

    # ---- as a space ----

    @property
    def is_finite(self) -> bool:
        """Whether the space has finitely many points by its distributions."""
        return not any(isinstance(axis, Continuous) for axis in self.axes)

    def params(self, point: Point) -> dict[str, Any]:
        """The parameters at a point: those of its branch."""
        space, inside = self._within(point)
        return space.params(inside)

    def point(self, params: Mapping[str, Any]) -> Point | None:
        """Where parameters lie; None if one that their branch has is absent or outside."""
        part = self._root
        while (found := part.space.point(params)) is not None:
            point = _filled(self._middle, part.axes, found)
            if part.decider is None:
                return point
            part = part.behind(point[part.decider])
        return None

    def at(self, point: Point, params: Mapping[str, Any], *, partly: bool = False) -> bool:
        """Whether parameters are those of a point, up to the rounding of a float."""
        space, inside = self._within(point)
        return space.at(inside, params, partly=partly)

    def present(self, point: Point) -> Mapping[str, BaseDistribution]:
        """The parameters that there are at a point."""
        return self._root.at(point).space.distributions

    def knows(self, name: str, distribution: BaseDistribution) -> bool:
        """Whether there are points with a parameter."""
        return (name, distribution) in self._keys

    def decided(self, params: Mapping[str, Any]) -> Decided | None:
        """Where some of the parameters lie, in the branches that have all of them."""
        return _Decided(
            self, {name: params[name] for name in params if name in self.distributions}
        )

    def point_name(self, point: Point) -> str:
        """The point as text: what a claim is made on, whatever other branches there are."""
        space, inside = self._within(point)
        return space.point_name(inside)

    # ---- what trials carry ----

    def branch(self, named: Named) -> Cell | None:
        """The cell that covers all points with the parameters of one; None if it is not here."""
        cell = self.lift(named)
        part = None if cell is None else self._around(cell)
        if cell is None or part is None or part.decider is not None:
            return None
        return self._awake(cell, part)

    def depth(self, cell: Cell) -> int:
        """How many cuts lead from the whole space to a cell."""
        space, axes = self._around(cell).named_by
        return cells.depth(space.axes, _taken(cell, axes))

    def asked(self, cell: Cell) -> Named:
        """A cell by the parameters that its trial is to suggest."""
        part = self._root.at(cells.centre(self.axes, cell))
        return part.space.asked(_taken(cell, part.axes))

    def has(self, named: Named) -> bool:
        """Whether a cell that was asked for has its place here, whatever branches were known."""
        return self.point_of(named) is not None

    def point_of(self, named: Named) -> Point | None:
        """The centre of a cell that was asked for, when other branches may have been known."""
        intervals = dict(zip(named.axes, named.cell, strict=True))
        if not {self._keys[i][0] for i in self._root.path} <= intervals.keys():
            return None
        point = tuple(
            axis.centre(intervals[name]) if name in intervals else middle
            for axis, (name, _), middle in zip(self.axes, self._keys, self._middle, strict=True)
        )
        part = self._root.at(point)
        if not self._is_of(named, part):
            return None
        return _filled(self._middle, part.axes, _taken(point, part.axes))

    def _is_of(self, named: Named, part: _Part) -> bool:
        """Whether parameters of those names have the same distributions in a part."""
        asked = named.axes, part.space.fingerprint
        if asked not in self._asked:  # of every trial
            here = {**self.distributions, **part.space.distributions}
            known = {name: here[name] for name in named.axes if name in here}
            is_known = len(known) == len(named.axes)
            self._asked[asked] = Space(known).fingerprint if is_known else None
        return self._asked[asked] == named.space

    def opened(self, cell: Cell) -> Named:
        """A cell by the parameters that lead to it."""
        space, axes = self._around(cell).named_by
        return space.asked(_taken(cell, axes))

    def lift(self, named: Named) -> Cell | None:
        """The cell that `opened` has named, here or in another space; None if it is not here."""
        intervals = dict(zip(named.axes, named.cell, strict=True))
        part = self._leading_to(lambda i: intervals.get(self._keys[i][0]))
        space, axes = part.named_by
        if named.space != space.fingerprint:
            return None
        return _filled(self._asleep, axes, named.cell)

    def local(self, point: Point) -> tuple[str, Point]:
        """A point on the axes of its branch alone, and the fingerprint of their space."""
        space, inside = self._within(point)
        return space.fingerprint, inside

    def whole(self, space: str, point: Point) -> Point | None:
        """The point that `local` has given, here or in another space; None if it is not here."""
        part = next((part for part in self._root if part.space.fingerprint == space), None)
        return None if part is None else _filled(self._middle, part.axes, point)

    # ---- as it grows ----

    def parts(self, cell: Cell, axis: int) -> tuple[Cell, ...]:
        """The parts of a cell cut on an axis, from left to right."""
        around = self._around(cell)
        cut = cells.children(self.axes, cell, axis)
        if around.decider != axis:
            return cut
        return tuple(self._woken(part, around) for part in cut)

    def _woken(self, cell: Cell, around: _Part) -> Cell:
        """A part of a cell that was cut on a decider."""
        axis = around.decider
        assert axis is not None
        if self.axes[axis].cut(cell[axis]):
            return cell
        return self._awake(cell, around.behind(self.axes[axis].centre(cell[axis])))

    def _awake(self, cell: Cell, part: _Part) -> Cell:
        """A cell in which what follows from a part's values can be cut."""
        free = [i for i in part.axes if i not in part.path]
        awake = free if part.decider is None else [part.decider]
        return _filled(cell, awake, [self.axes[i].whole() for i in awake])

    def _size(self, part: _Part) -> float:
        """How many points a part has, as far as its parameters are known."""
        if part.decider is None or part.unseen is None:
            return math.prod(self.axes[i].size() for i in part.axes if i not in part.path)
        n_unseen = int(self.axes[part.decider].size()) - len(part.parts)
        unseen = n_unseen * self._size(part.unseen) if n_unseen else 0
        return unseen + sum(self._size(behind) for behind in part.parts.values())

    def on(self, cell: Cell, params: Mapping[str, Any]) -> dict[int, Coordinate] | None:
        """Axis -> coordinate of those parameters that are awake in a cell.

        None if no part of the cell can have them all.
        """
        part = self._around(cell)
        space, axes = part.named_by
        if part.decider is None and not params.keys() <= space.distributions.keys():
            return None
        found = {
            axis: Space({name: distribution}).point(params)
            for axis, (name, distribution) in zip(axes, space.distributions.items(), strict=True)
            if name in params
        }
        inside = {axis: point[0] for axis, point in found.items() if point is not None}
        return inside if len(inside) == len(found) else None

    # ---- which part ----

    def _within(self, point: Point) -> tuple[Space, Point]:
        """The space of the parameters that there are at a point, and where in it that is."""
        part = self._root.at(point)
        return part.space, _taken(point, part.axes)

    def _around(self, cell: Cell) -> _Part:
        """The last part that has all of a cell."""
        return self._leading_to(cell.__getitem__)

    def _leading_to(self, interval: Callable[[int], Interval | None]) -> _Part:
        """The last part whose deciders have one value each, given the interval on an axis."""
        part = self._root
        while part.decider is not None:
            found = interval(part.decider)
            if found is None or self.axes[part.decider].cut(found):
                break
            part = part.behind(self.axes[part.decider].centre(found))
        return part


@dataclass(frozen=True)
class _Decided:
    """Parameters that are decided, whichever branch has them."""

    space: ConditionalSpace
    params: Mapping[str, Any]

    def on(self, cell: Cell) -> Mapping[int, Coordinate] | None:
        return self.space.on(cell, self.params)

    def is_whole(self, cell: Cell) -> bool:
        return len(self.on(cell) or ()) == len(self.params)


def _taken(values: Sequence[_T], axes: Sequence[int]) -> tuple[_T, ...]:
    return tuple(values[i] for i in axes)


def _filled(values: tuple[_T, ...], axes: Sequence[int], others: Sequence[_T]) -> tuple[_T, ...]:
    """Values with others on some axes."""
    found = dict(zip(axes, others, strict=True))
    return tuple(found.get(i, value) for i, value in enumerate(values))


def _text(branch: Branch) -> str:
    behind = ", ".join(f"{x}: {_text(each)}" for x, each in branch.branches.items())
    return f"{branch.space.fingerprint} {branch.decider} ({behind})"
