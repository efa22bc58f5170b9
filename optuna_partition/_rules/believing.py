"""What rules with a belief share: SOO's tree, a sweep, and the last fit; and how they are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import final

from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._core.growth import Growth
from optuna_partition._rules import soo
from optuna_partition._rules.belief import Fit
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Partition
from optuna_partition._rules.rule import Rule


__all__ = ["BeliefPartition", "BeliefRule", "Cursor", "DEFAULT", "PUBLISHED", "ReadOnlyRule"]

DEFAULT = "bamsoo"
"""Name of the default rule, of `bamsoo.py`; trials carry it."""
PUBLISHED = "bamsoo-2014 eta="
"""What the names of the published rule begin with, of `bamsoo_2014.py`."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the sweep stands, and what the last fit of the belief found."""

    sweep: soo.Cursor
    fit: Fit


class BeliefPartition(Partition[Cursor]):
    """A partition of SOO's, in which a belief has its say.

    Args:
        swept: SOO's.
    """

    def __init__(self, swept: soo.Swept) -> None:
        super().__init__(swept.tree)
        self.swept = swept

    def open(self, cell: Cell, cursor: Cursor, place: int) -> None:
        self.swept.open(cell, cursor.sweep, place)

    def bound(self, cell: Cell, value: float) -> None:
        node = self.swept.reach(cell)
        assert node is not None, f"{cell} is no cell of the space"
        self.tree.bound(node, value)

    def settle(self) -> None:
        self.swept.settle()


_SOO = soo.SOO()


class BeliefRule(Rule[Cursor]):
    """A rule on SOO's tree whose cursor also carries the fit of a belief."""

    @property
    def start(self) -> Cursor:
        return Cursor(_SOO.start, Fit(0, ()))

    def plant(self, axes: Sequence[Axis], growth: Growth | None = None) -> BeliefPartition:
        return self.with_belief(_SOO.plant(axes, growth))

    @abstractmethod
    def with_belief(self, swept: soo.Swept) -> BeliefPartition:
        """SOO's partition with this rule's belief."""

    def join(self, a: Cursor, b: Cursor) -> Cursor:
        return Cursor(_SOO.join(a.sweep, b.sweep), max(a.fit, b.fit))

    def dump(self, cursor: Cursor) -> tuple[Any, ...]:
        return *_SOO.dump(cursor.sweep), cursor.fit.n_ended, list(cursor.fit.theta)

    def load(self, *values: Any) -> Cursor:
        *sweep, n_ended, theta = values
        return Cursor(_SOO.load(*sweep), Fit(n_ended, tuple(theta)))


@final
@dataclass(frozen=True)
class ReadOnlyRule(BeliefRule):
    """A rule by its name alone: it reads a study and cannot choose."""

    as_named: str

    @property
    def name(self) -> str:
        return self.as_named

    @classmethod
    def named(cls, name: str) -> ReadOnlyRule | None:
        """The rule of that name, if it has a belief."""
        known = name == DEFAULT or name.startswith(PUBLISHED)
        return cls(name) if known else None

    def with_belief(self, swept: soo.Swept) -> BeliefPartition:
        return _ReadOnlyPartition(swept)


@final
class _ReadOnlyPartition(BeliefPartition):
    def choose(self, cursor: Cursor) -> Choice[Cursor]:
        raise AssertionError("a rule without a belief chooses nothing")
