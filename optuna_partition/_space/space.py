"""A search space as axes of the unit cube, its points and its cells by name; knows no tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from optuna.distributions import BaseDistribution

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Decided
from optuna_partition._core.growth import Growth
from optuna_partition._space.values import axis_of
from optuna_partition._space.values import coordinate_of
from optuna_partition._space.values import fingerprint_of
from optuna_partition._space.values import is_same
from optuna_partition._space.values import value_at


__all__ = ["AnySpace", "Named", "Space"]


@dataclass(frozen=True, slots=True)
class Named:
    """A cell by the names of its axes, as trials carry it.

    Args:
        space: Fingerprint of the space of these parameters.
        axes: Their names.
        cell: An interval for each.
    """

    space: str
    axes: tuple[str, ...]
    cell: Cell


class AnySpace(Protocol):
    """What a tree is kept over: a space, or one in which values decide on parameters."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes."""

    @property
    def growth(self) -> Growth | None:
        """How a tree grows over them; None where all can be cut everywhere."""

    @property
    def fingerprint(self) -> str:
        """What tells spaces apart."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """All parameters."""

    @property
    def is_finite(self) -> bool:
        """Whether the space has finitely many points by its distributions."""

    def params(self, point: Point) -> dict[str, Any]:
        """The parameters at a point, as native Python values inside their distributions."""

    def point(self, params: Mapping[str, Any]) -> Point | None:
        """Where parameters lie, or None if one is absent or outside its distribution."""

    def at(self, point: Point, params: Mapping[str, Any], *, partly: bool = False) -> bool:
        """Whether parameters are those of a point, up to the rounding of a float.

        Args:
            point: In the space.
            params: By name.
            partly: Whether those that are not there agree.
        """

    def present(self, point: Point) -> Mapping[str, BaseDistribution]:
        """The parameters that there are at a point."""

    def knows(self, name: str, distribution: BaseDistribution) -> bool:
        """Whether there are points with a parameter."""

    def decided(self, params: Mapping[str, Any]) -> Decided | None:
        """Where some of the parameters lie, or None if one is outside its distribution."""

    def point_name(self, point: Point) -> str:
        """The point as text, in whatever order the parameters are: what a claim is made on."""

    def branch(self, named: Named) -> Cell | None:
        """The cell that covers all points with the parameters of one; None if it is not here."""

    def depth(self, cell: Cell) -> int:
        """How many cuts lead from the whole space to a cell."""

    def asked(self, cell: Cell) -> Named:
        """A cell by the parameters that its trial is to suggest."""

    def has(self, named: Named) -> bool:
        """Whether a cell that was asked for is of this space."""

    def point_of(self, named: Named) -> Point | None:
        """The centre of a cell that was asked for, perhaps in another space of its parameters."""

    def opened(self, cell: Cell) -> Named:
        """A cell by the parameters that lead to it."""

    def lift(self, named: Named) -> Cell | None:
        """The cell that `opened` has named; None if that is none of this space's."""

    def local(self, point: Point) -> tuple[str, Point]:
        """A point on the axes of its trial's parameters alone, and their space's fingerprint."""

    def whole(self, space: str, point: Point) -> Point | None:
        """The point that `local` has given; None if that is in none of this space's."""


@dataclass(frozen=True)
class Space:
    """A search space, axis by axis in the order of its dictionary.

    Args:
        distributions: Name -> Optuna distribution; the order is the order of the axes.
    """

    distributions: Mapping[str, BaseDistribution]
    axes: tuple[Axis, ...] = field(init=False)
    fingerprint: str = field(init=False)
    growth: Growth | None = field(init=False, default=None)
    _orders: dict[tuple[str, ...], str] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        axes = tuple(axis_of(name, d) for name, d in self.distributions.items())
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "fingerprint", fingerprint_of(self.distributions))

    @property
    def is_finite(self) -> bool:
        return not any(isinstance(axis, Continuous) for axis in self.axes)

    def params(self, point: Point) -> dict[str, Any]:
        pairs = zip(self.distributions.items(), point, strict=True)
        return {name: value_at(distribution, x) for (name, distribution), x in pairs}

    def point(self, params: Mapping[str, Any]) -> Point | None:
        coordinates = []
        for name, distribution in self.distributions.items():
            x = coordinate_of(distribution, params[name]) if name in params else None
            if x is None:
                return None
            coordinates.append(x)
        return tuple(coordinates)

    def decided(self, params: Mapping[str, Any]) -> Decided | None:
        found: dict[int, Coordinate] = {}
        for i, (name, distribution) in enumerate(self.distributions.items()):
            if name in params:
                x = coordinate_of(distribution, params[name])
                if x is None:
                    return None
                found[i] = x
        return _Decided(found)

    def present(self, point: Point) -> Mapping[str, BaseDistribution]:
        return self.distributions

    def knows(self, name: str, distribution: BaseDistribution) -> bool:
        return self.distributions.get(name) == distribution

    def branch(self, named: Named) -> Cell | None:
        return cells.root(self.axes) if named.space == self.fingerprint else None

    def depth(self, cell: Cell) -> int:
        return cells.depth(self.axes, cell)

    def asked(self, cell: Cell) -> Named:
        return Named(self.fingerprint, tuple(self.distributions), cell)

    def has(self, named: Named) -> bool:
        return named.space == self.fingerprint

    def point_of(self, named: Named) -> Point | None:
        if named.space == self.fingerprint:
            return cells.centre(self.axes, named.cell)
        if not self._is_reordered(named.axes, named.space):
            return None
        intervals = dict(zip(named.axes, named.cell, strict=True))
        return cells.centre(self.axes, tuple(intervals[name] for name in self.distributions))

    def _is_reordered(self, names: tuple[str, ...], fingerprint: str) -> bool:
        """Whether a fingerprint is that of this space with its parameters in that order."""
        if set(names) != self.distributions.keys():
            return False
        if names not in self._orders:  # asked for every trial of another sampler
            ordered = {name: self.distributions[name] for name in names}
            self._orders[names] = fingerprint_of(ordered)
        return self._orders[names] == fingerprint

    def opened(self, cell: Cell) -> Named:
        return self.asked(cell)

    def lift(self, named: Named) -> Cell | None:
        return named.cell if named.space == self.fingerprint else None

    def local(self, point: Point) -> tuple[str, Point]:
        return self.fingerprint, point

    def whole(self, space: str, point: Point) -> Point | None:
        return point if space == self.fingerprint else None

    def point_name(self, point: Point) -> str:
        names = sorted(self.distributions)
        of = dict(zip(self.distributions, point, strict=True))
        space = fingerprint_of({name: self.distributions[name] for name in names})
        return f"{space} {cells.point_name(tuple(of[name] for name in names))}"

    def unit(self, params: Mapping[str, Any]) -> dict[str, float] | None:
        """Where parameters lie in the unit cube, or None if they lie nowhere in the space."""
        point = self.point(params)
        if point is None:
            return None
        units = [axis.unit(x) for axis, x in zip(self.axes, point, strict=True)]
        return dict(zip(self.distributions, units, strict=True))

    def at(self, point: Point, params: Mapping[str, Any], *, partly: bool = False) -> bool:
        return all(
            is_same(distribution, value, params[name]) if name in params else partly
            for (name, distribution), value in zip(
                self.distributions.items(), self.params(point).values(), strict=True
            )
        )


@dataclass(frozen=True)
class _Decided:
    """Coordinates where every axis is awake."""

    coordinates: Mapping[int, Coordinate]

    def on(self, cell: Cell) -> Mapping[int, Coordinate]:
        return self.coordinates

    def is_whole(self, cell: Cell) -> bool:
        return True
