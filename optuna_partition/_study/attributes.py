"""What trials carry of ours: the one place that knows the names, and what is under them.

=======================  =================================================================
system attribute         what it says
=======================  =================================================================
``partition``            `Ask`, of a trial that a partition sampler asked for; `Completion`,
                         of one whose parameters were decided in part
``partition:nomad``      `Poll`, of a trial that NOMAD asked for
``partition:branches``   fingerprint of a branch -> the `Fit` of its model that the trial made
``partition:failed``     that the point is bad, where there is none of the first two to say it
``partition:stopped``    that its run was stopped, so that no worker has died of its point
=======================  =================================================================

The study itself has ``partition:announces`` once a worker claims points without a lock.

All that a trial says of its point is in one attribute, because several are several commits. The
user attribute ``partition`` is for people, and nothing reads it.

A study outlives the version that wrote it. Names and meanings stay; what is new is a new field
that may be absent, as `at`, `bounds` and `repeat` are. What cannot be read is a later version's:
then the trial counts by where its parameters lie, as one from elsewhere does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._rules.belief import Fit
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Named


__all__ = [
    "ANNOUNCED",
    "ANNOUNCES",
    "Ask",
    "CLAIM",
    "Completion",
    "FAILED",
    "FITS",
    "KEY",
    "NOMAD",
    "Poll",
    "STOPPED",
    "claim_of",
    "failed",
    "fit_of",
    "is_of_partition",
    "is_ours",
    "says_failed",
    "says_stopped",
    "shown",
    "with_fit",
]

KEY = "partition"
NOMAD = "partition:nomad"
FITS = "partition:branches"
FAILED = "partition:failed"
STOPPED = "partition:stopped"

ANNOUNCES = "partition:announces"
"""Attribute of the study: there are workers who see claims only in the trials."""
CLAIM = "claim"
"""Field of `KEY` and `NOMAD`: the point it claims, by name."""
ANNOUNCED = "announced"
"""Field of `KEY` and `NOMAD`: the claim is not confirmed yet, and nothing else counts."""
_FAILED = "failed"
"""Field of `KEY` and `NOMAD`: the objective itself failed, and another attempt is no use."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a trial carries that a partition sampler asked for.

    Args:
        rule: Name of the rule that asked, with the options that its tree depends on.
        space: Fingerprint of the search space the cells live in.
        axes: Names of its parameters, in order.
        cell: The cell that the trial evaluates at its centre.
        opened: The cells the ask opened, in order; in a conditional space also of other branches.
        cursor: Where the rule stood afterwards, as JSON values.
        partial: Whether some parameters of the sampler's space were fixed from outside.
        failed: Whether the objective itself failed, so that another attempt is no use.
        announced: Whether the claim is not confirmed yet: then the log does not count.
        at: The tiny cell at whose centre it is evaluated, where that is not the cell's own.
        bounds: The cells the ask spared, and the values it gave them.
        repeat: Which repeat of its point this is; 0 where nobody had evaluated it.
    """

    rule: str
    space: str
    axes: tuple[str, ...]
    cell: Cell
    opened: tuple[Named, ...]
    cursor: tuple[Any, ...]
    partial: bool = False
    failed: bool = False
    announced: bool = False
    at: Cell | None = None
    bounds: tuple[tuple[Cell, float], ...] = ()
    repeat: int = 0

    @property
    def evaluated(self) -> Cell:
        """The cell whose centre is evaluated."""
        return self.at or self.cell

    @property
    def named(self) -> Named:
        """The same with the names of its axes."""
        return Named(self.space, self.axes, self.evaluated)

    def to_json(self) -> dict[str, Any]:
        """The attribute's value, but for the fields of its claim."""
        more: dict[str, Any] = {f: True for f in ("partial", _FAILED) if getattr(self, f)}
        if self.at is not None:
            more["at"] = cells.name(self.at)
        if self.bounds:
            more["bounds"] = [[cells.name(cell), value] for cell, value in self.bounds]
        if self.repeat:
            more["repeat"] = self.repeat
        return {
            "rule": self.rule,
            "space": self.space,
            "cell": _by_name(self.axes, self.cell),
            "opened": [self._opened_to_json(cell) for cell in self.opened],
            "cursor": list(self.cursor),
            **more,
        }

    def _opened_to_json(self, cell: Named) -> str | dict[str, Any]:
        if (cell.space, cell.axes) == (self.space, self.axes):
            return cells.name(cell.cell)
        return {"space": cell.space, "cell": _by_name(cell.axes, cell.cell)}

    @classmethod
    def of(cls, trial: FrozenTrial) -> Ask | None:
        """What a trial carries; None for a trial from elsewhere, also from a later version."""
        json = trial.system_attrs.get(KEY)
        if json is None or "rule" not in json:
            return None
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            return cls._of_json(json)
        return None

    @classmethod
    def _of_json(cls, json: Mapping[str, Any]) -> Ask:
        space, axes = json["space"], tuple(json["cell"])
        return cls(
            rule=json["rule"],
            space=space,
            axes=axes,
            cell=cells.parse(" ".join(json["cell"].values())),
            opened=tuple(_opened_of_json(cell, space, axes) for cell in json["opened"]),
            cursor=tuple(json["cursor"]),
            partial=json.get("partial", False),
            failed=json.get(_FAILED, False),
            announced=json.get(ANNOUNCED, False),
            at=cells.parse(json["at"]) if "at" in json else None,
            bounds=tuple((cells.parse(cell), v) for cell, v in json.get("bounds", ())),
            repeat=json.get("repeat", 0),
        )


def _opened_of_json(json: Any, space: str, axes: tuple[str, ...]) -> Named:
    if isinstance(json, str):
        cell = cells.parse(json)
        if len(cell) != len(axes):
            raise ValueError(f"a cell has an interval for each axis, but got ({json}, {axes}).")
        return Named(space, axes, cell)
    cell = cells.parse(" ".join(json["cell"].values()))
    return Named(json["space"], tuple(json["cell"]), cell)


def _by_name(axes: tuple[str, ...], cell: Cell) -> dict[str, str]:
    return dict(zip(axes, cells.name(cell).split(" "), strict=True))


@dataclass(frozen=True, slots=True)
class Completion:
    """What a trial carries whose parameters were decided in part, and completed to a point.

    Args:
        space: Fingerprint of the space of its parameters.
        point: Where it lies in it.
    """

    space: str
    point: Point

    @classmethod
    def to(cls, space: AnySpace, point: Point) -> Completion:
        """Of a trial completed to a point of a space."""
        return cls(*space.local(point))

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        return {"space": self.space, "point": cells.point_name(self.point)}

    @classmethod
    def of(cls, trial: FrozenTrial) -> Completion | None:
        """What a trial carries, if its claim is confirmed."""
        json = trial.system_attrs.get(KEY, {})
        if ANNOUNCED in json:
            return None
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            return cls(json["space"], cells.parse_point(json["point"]))
        return None


@dataclass(frozen=True, slots=True)
class Poll:
    """What a trial carries that NOMAD asked for, known before its parameters are.

    Args:
        space: What tells NOMAD's variables from others.
        at: Their values.
        announced: Whether the claim is not confirmed yet.
    """

    space: str
    at: tuple[float, ...]
    announced: bool = False

    def to_json(self) -> dict[str, Any]:
        """The attribute's value, but for the fields of its claim."""
        return {"space": self.space, "at": list(self.at)}

    @classmethod
    def of(cls, trial: FrozenTrial) -> Poll | None:
        """What a trial carries; None for a trial from elsewhere, also from a later version."""
        json = trial.system_attrs.get(NOMAD, {})
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            return cls(json["space"], tuple(json["at"]), json.get(ANNOUNCED, False))
        return None


def is_of_partition(trial: FrozenTrial) -> bool:
    """Whether a partition sampler has said, or begun to say, where a trial is to lie."""
    return KEY in trial.system_attrs


def is_ours(trial: FrozenTrial) -> bool:
    """Whether any sampler of ours has said, or begun to say, where a trial is to lie."""
    return is_of_partition(trial) or NOMAD in trial.system_attrs


def claim_of(trial: FrozenTrial, key: str) -> tuple[str | None, bool]:
    """The point that a trial claims, and whether that is confirmed.

    Args:
        trial: The trial.
        key: The attribute that its sampler keeps.
    """
    kept: Mapping[str, Any] = trial.system_attrs.get(key, {})
    return kept.get(CLAIM), ANNOUNCED not in kept


def failed(trial: FrozenTrial, key: str) -> tuple[str, Any]:
    """The attribute, and its value, that says of a trial's point that it is bad.

    Args:
        trial: One whose objective failed.
        key: The attribute that its sampler keeps.
    """
    kept = trial.system_attrs.get(key)
    return (FAILED, True) if kept is None else (key, {**kept, _FAILED: True})


def says_failed(trial: FrozenTrial) -> bool:
    """Whether a sampler of ours has said so, whichever it was."""
    kept = trial.system_attrs
    return FAILED in kept or any(_FAILED in kept.get(key, {}) for key in (KEY, NOMAD))


def says_stopped(trial: FrozenTrial) -> bool:
    """Whether somebody has ended the trial's run, which says nothing of its point."""
    return STOPPED in trial.system_attrs


def fit_of(trial: FrozenTrial, fingerprint: str) -> Fit:
    """The fit of a branch's model that a trial made; one on nothing if it made none."""
    n_ended, *theta = trial.system_attrs.get(FITS, {}).get(fingerprint, [0])
    return Fit(n_ended, tuple(theta))


def with_fit(trial: FrozenTrial, fingerprint: str, fit: Fit) -> dict[str, Any]:
    """A trial's fits, and one more."""
    fits: dict[str, Any] = trial.system_attrs.get(FITS, {})
    return {**fits, fingerprint: [fit.n_ended, *fit.theta]}


def shown(ask: Ask, depth: int) -> dict[str, Any]:
    """What people see of an ask in optuna-dashboard, which shows user attributes."""
    what = {"rule": ask.rule, "depth": depth, "cell": ask.to_json()["cell"]}
    return {**what, "repeat": ask.repeat} if ask.repeat else what
