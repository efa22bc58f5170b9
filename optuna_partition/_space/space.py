"""Optuna's distributions <-> axes of the unit cube: the only translator; knows no tree."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from fractions import Fraction
import hashlib
import math
import sys
from typing import Any
from typing import Protocol

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Coordinate
from optuna_partition._core.axes import float_above
from optuna_partition._core.axes import float_below
from optuna_partition._core.axes import float_step
from optuna_partition._core.axes import Grid
from optuna_partition._core.axes import LogGrid
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.growth import Decided
from optuna_partition._core.growth import Growth


__all__ = ["AnySpace", "integers", "internal_of", "is_single", "kinds", "Named", "Space"]

_FEWEST_ULPS = 8  # neighbouring centres differ by at least this many units in the last place


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

    def spot(self, named: Named) -> Point | None:
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
        axes = tuple(_axis(name, d) for name, d in self.distributions.items())
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "fingerprint", _fingerprint(self.distributions))

    @property
    def is_finite(self) -> bool:
        return not any(isinstance(axis, Continuous) for axis in self.axes)

    def params(self, point: Point) -> dict[str, Any]:
        pairs = zip(self.distributions.items(), point, strict=True)
        return {name: _value(distribution, x) for (name, distribution), x in pairs}

    def point(self, params: Mapping[str, Any]) -> Point | None:
        coordinates = []
        for name, distribution in self.distributions.items():
            x = _coordinate(distribution, params[name]) if name in params else None
            if x is None:
                return None
            coordinates.append(x)
        return tuple(coordinates)

    def decided(self, params: Mapping[str, Any]) -> Decided | None:
        found: dict[int, Coordinate] = {}
        for i, (name, distribution) in enumerate(self.distributions.items()):
            if name in params:
                x = _coordinate(distribution, params[name])
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

    def spot(self, named: Named) -> Point | None:
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
            self._orders[names] = _fingerprint(ordered)
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
        space = _fingerprint({name: self.distributions[name] for name in names})
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
            _same(distribution, value, params[name]) if name in params else partly
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


def _fingerprint(distributions: Mapping[str, BaseDistribution]) -> str:
    lines = (f"{name} {distribution_to_json(d)}{_thinned(d)}" for name, d in distributions.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _thinned(distribution: BaseDistribution) -> str:
    """What there is of a distribution where that is not every value by itself; else nothing."""
    if isinstance(distribution, CategoricalDistribution):
        count = max(kinds(distribution)) + 1
        return "" if count == len(distribution.choices) else f" {count} kinds"
    if isinstance(distribution, IntDistribution):
        low, step = integers(distribution)
        beyond = distribution.log and float_step(distribution.high) > 1
        return f" {low} {step}" if beyond or step != distribution.step else ""
    return ""


def single(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """One value of a distribution, as one of finitely many: a float, too."""
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(value), int(value))
    return CategoricalDistribution((value,))


def is_single(distribution: BaseDistribution) -> bool:
    """Whether a distribution has one value, equal choices being one."""
    if isinstance(distribution, CategoricalDistribution):
        return max(kinds(distribution)) == 0
    return distribution.single()


def kinds(distribution: CategoricalDistribution) -> tuple[int, ...]:
    """For each choice its place among those that Optuna can tell apart.

    Of choices that are equal it keeps the first: 1, 1.0 and True are one to it, and so is nan.
    """
    choices = distribution.choices
    if _are_told_apart(choices):  # as nearly always, and quickly seen
        return tuple(range(len(choices)))
    firsts: list[Any] = []
    found: list[int] = []
    for choice in choices:
        same = (i for i, first in enumerate(firsts) if _is_equal(first, choice))
        found.append(next(same, len(firsts)))
        if found[-1] == len(firsts):
            firsts.append(choice)
    return tuple(found)


def _are_told_apart(choices: Sequence[Any]) -> bool:
    try:
        return len(set(choices)) == len(choices) and sum(c != c for c in choices) < 2
    except TypeError:  # not all can be hashed
        return False


def _is_equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


def integers(distribution: IntDistribution, name: str = "") -> tuple[int, int]:
    """The first and the step of the integers that Optuna can keep, which it does as floats.

    Args:
        distribution: A parameter's.
        name: The parameter's, for the message.

    Raises:
        ValueError: It would take its own values for others, outside the distribution.
    """
    low, high, step = distribution.low, distribution.high, distribution.step
    every = float_step(max(abs(low), abs(high), high - low, 1))
    if distribution.log:
        first, step = float_above(low), 1
    elif (low | step) % every == 0:
        first = low
    else:
        first = -(-low // every) * every
        step = every if every % step == 0 and low % step == 0 else 0
    if first > high or step == 0:
        raise ValueError(
            "`low` and `step` must give integers that are exact as floats, which is how Optuna "
            f"keeps them, but got ({name}={distribution}); suggest a smaller integer, and let the "
            "objective multiply or add."
        )
    return first, step


def _axis(name: str, distribution: BaseDistribution) -> Axis:
    if isinstance(distribution, CategoricalDistribution):
        return Grid(max(kinds(distribution)) + 1, ordered=False)
    if isinstance(distribution, IntDistribution):
        low, step = integers(distribution, name)
        if distribution.log:
            return LogGrid(low, float_below(distribution.high))
        return Grid((distribution.high - low) // step + 1)
    if isinstance(distribution, FloatDistribution):
        if distribution.step is not None:
            return Grid(round((distribution.high - distribution.low) / distribution.step) + 1)
        return Continuous(_levels(distribution))
    raise ValueError(
        f"`search_space` must map names to Optuna distributions, but got ({name}={distribution!r})"
        "; use FloatDistribution, IntDistribution or CategoricalDistribution."
    )


def _levels(distribution: FloatDistribution) -> int:
    """How often an axis can be cut before two centres come too close to tell apart."""
    low, high = _scale(distribution)
    width, resolution = high - low, _resolution(distribution)
    if not math.isfinite(width):
        raise ValueError(
            f"`high - low` must be a finite float, but got ({distribution}); narrow the range or "
            "use log=True."
        )
    return max(0, math.floor(math.log(width / resolution, 3))) if width > resolution else 0


def _resolution(distribution: FloatDistribution) -> float:
    """The least distance of two centres, on the scale that is cut evenly."""
    magnitude = max(map(abs, _scale(distribution)))
    finest = max(1.0, magnitude) * sys.float_info.epsilon if distribution.log else 0.0
    return max(finest, math.ulp(magnitude)) * _FEWEST_ULPS


def _scale(distribution: FloatDistribution) -> tuple[float, float]:
    """The ends of the axis on the scale that is cut evenly."""
    if distribution.log:
        return math.log(distribution.low), math.log(distribution.high)
    return distribution.low, distribution.high


def _value(distribution: BaseDistribution, x: Coordinate) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[kinds(distribution).index(int(x))]
    if isinstance(distribution, IntDistribution):
        first, every = integers(distribution)
        return int(x) if distribution.log else first + int(x) * every
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        return min(distribution.low + int(x) * distribution.step, distribution.high)
    low, high = _scale(distribution)
    value = low + float(x) * (high - low)
    value = math.exp(value) if distribution.log else value
    return min(max(value, distribution.low), distribution.high)


def internal_of(distribution: BaseDistribution, value: Any) -> float | None:
    """The number that Optuna keeps for a value; None where that is outside the distribution.

    That only `_contains` tells in public is told by an error, of `create_trial` for a whole trial.
    """
    try:
        internal = distribution.to_internal_repr(value)
    except ValueError:  # not a choice, or not a number
        return None
    return internal if distribution._contains(internal) else None


def _coordinate(distribution: BaseDistribution, value: Any) -> Coordinate | None:
    internal = internal_of(distribution, value)
    if internal is None:
        return None
    if isinstance(distribution, CategoricalDistribution):
        return kinds(distribution)[int(internal)]
    if isinstance(distribution, IntDistribution):
        if distribution.log:
            return int(internal)
        first, every = integers(distribution)
        nearest = (int(internal) - first + every // 2) // every
        return min(max(nearest, 0), (distribution.high - first) // every)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        return round((internal - distribution.low) / distribution.step)
    return _unit(distribution, internal)


def _unit(distribution: FloatDistribution, value: float) -> Fraction:
    """Where a value lies: at the centre of a cell if it is that centre, rounded to a float.

    So a point is the same point whoever asked for it. The first trial of a study takes the centre
    before there is a tree, and people enqueue what they have read off another trial.
    """
    low, high = _scale(distribution)
    if not high > low:
        return Fraction(1, 2)
    scaled = math.log(value) if distribution.log else value
    share = min(max((scaled - low) / (high - low), 0.0), 1.0)
    rounding = _resolution(distribution) / (high - low) / 2  # no two centres are as close to it
    for level in range(_levels(distribution) + 1):
        parts: int = 3**level
        index = min(int(share * parts), parts - 1)
        if abs(share * parts - index - 0.5) < rounding * parts:
            return Fraction(2 * index + 1, 2 * parts)
    return Fraction(share)


def _same(distribution: BaseDistribution, ours: Any, theirs: Any) -> bool:
    if isinstance(distribution, FloatDistribution):
        width = distribution.high - distribution.low
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12 * width)
    return _coordinate(distribution, ours) == _coordinate(distribution, theirs)
