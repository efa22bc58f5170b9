"""Axes of the unit cube as exact integers; imports the standard library only.

Notation:

=============  =======================  ==================  =============================
axis           interval                 centre              whole axis
=============  =======================  ==================  =============================
`Continuous`   ``(level, index)``       fraction of [0, 1]  ``(0, 0)``
`Grid`         ``(first, last)``        an index            ``(0, count - 1)``
`LogGrid`      ``(first, last)``        an integer value    ``(low, high)``
=============  =======================  ==================  =============================

A continuous interval is [index, index + 1] / 3^level. Every cut leaves the interval's centre to
exactly one part as that part's own centre. Nothing here compares floats: sides are fractions,
centres are fractions or integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
import math
import sys
from typing import Protocol
from typing import TypeAlias


__all__ = [
    "Axis",
    "Continuous",
    "Coordinate",
    "Grid",
    "Interval",
    "LogGrid",
    "float_above",
    "float_below",
    "float_step",
]

Interval: TypeAlias = tuple[int, int]
Coordinate: TypeAlias = Fraction | int

_PIN_LEVEL = 13  # 3^-13 of an axis is nothing to an expensive function
_LOG_SHARE_UNIT = 2**20  # a log side is rounded to this, so that ulps of `log` cannot matter
_FLOAT_BITS = sys.float_info.mant_dig


class Axis(Protocol):
    """What a cell needs to know about one axis."""

    def whole(self) -> Interval:
        """The interval that covers the axis."""

    def size(self) -> float:
        """How many coordinates there are."""

    def grain(self) -> int:
        """Into how many equal pieces the axis falls if every side is some of them."""

    def centre(self, interval: Interval) -> Coordinate:
        """The coordinate at which a cell with this interval is evaluated."""

    def side(self, interval: Interval) -> Fraction:
        """The share of the axis that the interval covers, in (0, 1]."""

    def cut(self, interval: Interval) -> tuple[Interval, ...]:
        """The parts from left to right.

        Three, of which the second keeps the centre; two when no three are left, of which the first
        does; none when the interval is final.
        """

    def holds(self, interval: Interval, x: Coordinate) -> bool:
        """Whether the coordinate lies in the interval; exactly one part of a cut says yes."""

    def near(self, interval: Interval, x: Coordinate) -> bool:
        """Whether the coordinate lies in the interval enlarged twice around its centre."""

    def at_centre(self, interval: Interval, x: Coordinate) -> bool:
        """Whether the coordinate is the centre, to a millionth of the side."""

    def ends(self, interval: Interval) -> tuple[float, float]:
        """The interval's ends in [0, 1], for models and pictures; the tree never asks."""

    def unit(self, x: Coordinate) -> float:
        """The coordinate in [0, 1], for models and pictures; the tree never asks."""

    def pin(self, unit: float) -> Interval:
        """The tiny interval whose centre stands for a place in [0, 1]."""


@lru_cache(maxsize=2**16)
def _middle(level: int, index: int) -> Fraction:
    """The middle of [index, index + 1] / 3^level; cached, for it is asked for again and again."""
    return Fraction(2 * index + 1, 2 * 3**level)


@dataclass(frozen=True, slots=True)
class Continuous:
    """A real axis, cut in exact thirds.

    Args:
        levels: Number of cuts after which neighbouring centres would be the same float.
    """

    levels: int

    def whole(self) -> Interval:
        return (0, 0)

    def size(self) -> float:
        return math.inf

    def grain(self) -> int:
        parts: int = 3**self.levels
        return parts

    def centre(self, interval: Interval) -> Fraction:
        return _middle(*interval)

    def side(self, interval: Interval) -> Fraction:
        return Fraction(1, 3 ** interval[0])

    def cut(self, interval: Interval) -> tuple[Interval, ...]:
        level, index = interval
        if level >= self.levels:
            return ()
        return tuple((level + 1, 3 * index + part) for part in range(3))

    def holds(self, interval: Interval, x: Coordinate) -> bool:
        level, index = interval
        parts: int = 3**level
        return min(x.numerator * parts // x.denominator, parts - 1) == index

    def near(self, interval: Interval, x: Coordinate) -> bool:
        side = self.side(interval)
        return -side <= x - self.centre(interval) <= side

    def at_centre(self, interval: Interval, x: Coordinate) -> bool:
        c = self.centre(interval)
        if x is c:  # centres are cached: mostly one object
            return True
        parts: int = 3 ** interval[0]
        gap = abs(x.numerator * c.denominator - c.numerator * x.denominator)
        return gap * parts * 1_000_000 <= x.denominator * c.denominator

    def ends(self, interval: Interval) -> tuple[float, float]:
        level, index = interval
        return index / 3**level, (index + 1) / 3**level

    def unit(self, x: Coordinate) -> float:
        return float(x)

    def pin(self, unit: float) -> Interval:
        level = min(self.levels, _PIN_LEVEL)
        parts: int = 3**level
        return level, min(int(unit * parts), parts - 1)


@dataclass(frozen=True, slots=True)
class Grid:
    """An axis of `count` indices 0, 1, ..., cut in three near-equal blocks.

    The outer blocks are equally long, which puts the parent's centre in the centre of the middle
    block whatever the remainder of count / 3.

    Args:
        count: Number of indices.
        ordered: Whether neighbours are alike; models ask, the tree does not.
    """

    count: int
    ordered: bool = True

    def whole(self) -> Interval:
        return (0, self.count - 1)

    def size(self) -> float:
        return self.count

    def grain(self) -> int:
        return self.count

    def centre(self, interval: Interval) -> int:
        first, last = interval
        return (first + last) // 2

    def side(self, interval: Interval) -> Fraction:
        first, last = interval
        return Fraction(last - first + 1, self.count)

    def cut(self, interval: Interval) -> tuple[Interval, ...]:
        first, last = interval
        if first == last:
            return ()
        if first + 1 == last:
            return ((first, first), (last, last))
        outer = (last - first + 2) // 3  # n = 3k, 3k + 1, 3k + 2 indices: k, k, k + 1
        return (
            (first, first + outer - 1),
            (first + outer, last - outer),
            (last - outer + 1, last),
        )

    def holds(self, interval: Interval, x: Coordinate) -> bool:
        return interval[0] <= x <= interval[1]

    def near(self, interval: Interval, x: Coordinate) -> bool:
        first, last = interval
        twice: int = 2 * (last - first + 1)
        return -twice <= 2 * x - (first + last) <= twice

    def at_centre(self, interval: Interval, x: Coordinate) -> bool:
        return x == self.centre(interval)

    def ends(self, interval: Interval) -> tuple[float, float]:
        return interval[0] / self.count, (interval[1] + 1) / self.count

    def unit(self, x: Coordinate) -> float:
        return (float(x) + 0.5) / self.count

    def pin(self, unit: float) -> Interval:
        index = min(int(unit * self.count), self.count - 1)
        return index, index


@dataclass(frozen=True, slots=True)
class LogGrid:
    """The positive integers low..high, cut in three blocks near-equal in the logarithm.

    The centre is the integer square root of first * last. The middle block [m, M] starts near
    the cube root of first^2 * last, and M is chosen so that isqrt(m * M) is the parent's centre.
    Beyond 2^53 the integers are those that are floats, and all of these numbers are rounded to
    one.

    Args:
        low: The first; a float.
        high: The last; a float.
    """

    low: int
    high: int

    def whole(self) -> Interval:
        return (self.low, self.high)

    def size(self) -> float:
        return _rank(self.high) - _rank(self.low) + 1

    def grain(self) -> int:
        return _LOG_SHARE_UNIT

    def centre(self, interval: Interval) -> int:
        return float_below(math.isqrt(interval[0] * interval[1]))

    def side(self, interval: Interval) -> Fraction:
        first, last = interval
        share = self._share(2 * first - 1, 2 * last + 1)
        return Fraction(max(1, round(share * _LOG_SHARE_UNIT)), _LOG_SHARE_UNIT)

    def cut(self, interval: Interval) -> tuple[Interval, ...]:
        first, last = interval
        if first == last:
            return ()
        middle = self.centre(interval)
        if middle == first:
            return ((first, first), (float_above(first + 1), last))
        # m * (the last but one) >= middle^2 leaves room for a right block
        least = -(-middle * middle // float_below(last - 1))
        start = min(float_above(max(_cube_root(first * first * last) + 1, least)), middle)
        end = float_above(-(-middle * middle // start))
        return ((first, float_below(start - 1)), (start, end), (float_above(end + 1), last))

    def holds(self, interval: Interval, x: Coordinate) -> bool:
        return interval[0] <= x <= interval[1]

    def near(self, interval: Interval, x: Coordinate) -> bool:
        first, last = interval
        return first**3 <= x * x * last and x * x * first <= last**3

    def at_centre(self, interval: Interval, x: Coordinate) -> bool:
        return x == self.centre(interval)

    def ends(self, interval: Interval) -> tuple[float, float]:
        start = 2 * self.low - 1
        return self._share(start, 2 * interval[0] - 1), self._share(start, 2 * interval[1] + 1)

    def unit(self, x: Coordinate) -> float:
        return self._share(2 * self.low - 1, 2 * int(x))

    def pin(self, unit: float) -> Interval:
        ratio = (2 * self.high + 1) / (2 * self.low - 1)
        value = round((2 * self.low - 1) / 2 * ratio**unit)
        value = min(max(float_below(value), self.low), self.high)
        return value, value

    def _share(self, a: int, b: int) -> float:
        """The distance of two half-integers a / 2 and b / 2 on the logarithmic axis."""
        return math.log(b / a) / math.log((2 * self.high + 1) / (2 * self.low - 1))


def float_below(n: int) -> int:
    """The largest integer up to n, which is not negative, that is a float."""
    coarse = _coarseness(n)
    return n >> coarse << coarse


def float_above(n: int) -> int:
    """The least integer from n on, which is positive, that is a float."""
    coarse = _coarseness(n - 1)
    return -(-n >> coarse) << coarse


def float_step(n: int) -> int:
    """The least step in which all integers up to n, which is positive, are floats."""
    return 1 << _coarseness(n - 1)


def _rank(n: int) -> int:
    """How many positive integers up to n, a float, are floats."""
    coarse = _coarseness(n)
    return (coarse << _FLOAT_BITS - 1) + (n >> coarse)


def _coarseness(n: int) -> int:
    """How many of the last bits of n its float cannot hold."""
    return max(0, n.bit_length() - _FLOAT_BITS)


def _cube_root(n: int) -> int:
    """The largest integer whose cube is at most n, by Newton's method from above."""
    root = 1 << -(-n.bit_length() // 3)
    while root and (nearer := (2 * root + n // root**2) // 3) < root:
        root = nearer
    return root
