"""Trials -> tree: what a trial carries, and the fold over all of them; knows no rule.

The trials are the truth and the tree is a cache of them. A trial that a partition sampler asked
for carries ONE system attribute, `KEY`: its cell and the log of what that ask did to the tree.
Every other trial counts by where its parameters lie: one of another sampler, and one whose log is
of another rule or another space. The fold is a union of cells, of observations and of cursors, so
it does not depend on the order in which trials end or are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
import math
from typing import Any
from typing import Generic

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import CursorT
from optuna_partition._rules.rule import Rule
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Named
from optuna_partition._study.claims import ANNOUNCED
from optuna_partition._study.early import expected


__all__ = ["ATTEMPTS", "Ask", "FAILED", "History", "KEY", "completion", "has_told", "is_asking"]

_ELSEWHERE = -(2**40)  # and below: numbers that no trial has

KEY = "partition"
FAILED = "partition:failed"
"""Trial system attribute where there is no ask to say it: the point is bad, not its worker."""
ATTEMPTS = 3
"""How often a point is evaluated when its worker dies before it counts as failed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a trial carries.

    Args:
        rule: Name of the rule that asked, with the options that change its choices.
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

    @property
    def spot(self) -> Cell:
        """The cell whose centre is evaluated."""
        return self.at or self.cell

    @property
    def named(self) -> Named:
        """The same with the names of its axes."""
        return Named(self.space, self.axes, self.spot)

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        more: dict[str, Any] = {f: True for f in ("partial", "failed") if getattr(self, f)}
        if self.at is not None:
            more["at"] = cells.name(self.at)
        if self.bounds:
            more["bounds"] = [[cells.name(cell), value] for cell, value in self.bounds]
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
            failed=json.get("failed", False),
            announced=json.get(ANNOUNCED, False),
            at=cells.parse(json["at"]) if "at" in json else None,
            bounds=tuple((cells.parse(cell), v) for cell, v in json.get("bounds", ())),
        )


def _opened_of_json(json: Any, space: str, axes: tuple[str, ...]) -> Named:
    if isinstance(json, str):
        return Named(space, axes, cells.parse(json))
    cell = cells.parse(" ".join(json["cell"].values()))
    return Named(json["space"], tuple(json["cell"]), cell)


def _by_name(axes: tuple[str, ...], cell: Cell) -> dict[str, str]:
    return dict(zip(axes, cells.name(cell).split(" "), strict=True))


class History(Generic[CursorT]):
    """The fold of one study's trials over one space.

    Args:
        space: The search space.
        rule: The rule whose logs are read.
        sign: +1 when the study minimises, -1 when it maximises.
        inferred: Whether trials may have begun before the space was known.
    """

    def __init__(
        self,
        space: AnySpace,
        rule: Rule[CursorT],
        *,
        sign: float,
        inferred: bool = False,
    ) -> None:
        self.space = space
        self._partition = rule.plant(space.axes, space.growth)
        self.tree: Tree = self._partition.tree
        self.cursor = rule.start
        self._rule, self._sign, self._inferred = rule, sign, inferred
        self.misfits: dict[int, Ask] = {}  # of other trees, by trial number; without their logs
        self._read = 0  # trials read so far
        self._pending: list[int] = []  # those of them that have not ended
        self._logged: set[int] = set()  # those of them whose log is in the tree
        self._settled: set[int] = set()  # those of them of whose point no more is to come
        self._deaths: dict[Point, int] = {}
        self._latest: FrozenTrial | None = None  # of those that have begun when they were read

    def continues(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these are the trials read so far and perhaps more: ids can be used again."""
        if len(trials) < self._read or self._latest is None:
            return len(trials) >= self._read
        return trials[self._latest.number].datetime_start == self._latest.datetime_start

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Folds in what has changed; `trials` is the whole study in the order of numbers."""
        fresh = trials[self._read :]
        self._read = len(trials)
        begun = (trial for trial in reversed(fresh) if trial.datetime_start is not None)
        self._latest = next(begun, self._latest)
        waiting = (*(trials[number] for number in self._pending), *fresh)
        self._pending = [t.number for t in waiting if self._says_no_more(t) or not self.fold(t)]

    def _says_no_more(self, trial: FrozenTrial) -> bool:
        """Whether a trial is in the tree and its next word is its end."""
        return trial.number in self._settled and not trial.state.is_finished()

    def holds(self, trial: FrozenTrial, point: Point) -> bool:
        """Whether a trial that once claimed a point may still have it, or has evaluated it."""
        ask = Ask.of(trial)
        if ask is None:  # it has claimed and not yet written down what
            return not trial.state.is_finished()
        if self.space.spot(ask.named) != point:
            return False
        if trial.state.is_finished() and self._is_elsewhere(trial, point):
            return False
        return trial.state is not TrialState.FAIL or ask.failed

    def _is_elsewhere(self, trial: FrozenTrial, point: Point) -> bool:
        """Whether the objective could not take its point: it suggests another range, for one."""
        return not self.space.at(point, trial.params, partly=True)

    def hold(self, number: int, point: Point, asking: int) -> None:
        """Leaves a point to the trial that has claimed it and perhaps not yet written it down."""
        if not self.tree.has(point, but=asking):
            self.tree.observe(number, point, Reading.FLYING)
            self._partition.settle()

    def choose(self, others: int = 0) -> Choice[CursorT]:
        """What the rule wants next.

        Workers that ask at the same moment all want the same point, and all but one come again.
        Then each leaves one point to every worker before it, as if that were in flight, and finds
        its own at the second try however many there are.

        Args:
            others: Workers to leave a point to.
        """
        choice = self._choose()
        left = range(-others, 0)  # no trial has such a number
        for number in left:
            if choice.cell is None:
                break
            self.tree.observe(number, self._centre(choice.at or choice.cell), Reading.FLYING)
            self._partition.settle()
            choice = _then(choice, self._choose())
        for number in left:
            self.tree.forget(number)
        self._partition.settle()
        return choice

    def _choose(self) -> Choice[CursorT]:
        choice = self._partition.choose(self.cursor)
        self.cursor = choice.cursor
        return choice

    def _centre(self, cell: Cell) -> Point:
        return cells.centre(self.space.axes, cell)

    def fold(self, trial: FrozenTrial) -> bool:
        """Folds in one trial as it is now; whether that was its last word."""
        is_over = self._fold(trial)
        self._partition.settle()
        return is_over

    def _fold(self, trial: FrozenTrial) -> bool:
        carried = Ask.of(trial)
        ask = carried if carried is not None and self._fits(carried) else None
        self.misfits.pop(trial.number, None)
        if carried is not None and ask is None:
            self.misfits[trial.number] = replace(carried, opened=(), bounds=())
        if ask is not None and not ask.announced and trial.number not in self._logged:
            self._log(trial.number, ask)
        spot = None if carried is None else self._spot(trial, carried)
        point = self._point(trial, spot, fits=ask is not None)
        if point is not None:
            self._read_off(trial, point)
        if not trial.state.is_finished():
            if ask is not None and spot is not None and trial.number in self._logged:
                if self._names_all(ask, spot):
                    self._settled.add(trial.number)
            return False
        if ask is not None and not ask.announced:
            self._leave(trial, ask)
        if point is None:
            self.tree.forget(trial.number)  # it may have held a point that it never wrote down
        self._logged.discard(trial.number)
        self._settled.discard(trial.number)
        return True

    def _leave(self, trial: FrozenTrial, ask: Ask) -> None:
        """What the end of a trial says of the point it was to evaluate, wherever it lies."""
        point = self._spot(trial, ask)
        assert point is not None, "a point of this tree"
        if not self._is_elsewhere(trial, point):
            if _is_interrupted(trial) and (cell := self.space.lift(ask.named)) is not None:
                self.tree.interrupted[trial.number] = cell
        elif self._names_all(ask, point):  # else it has not left it, but come to more parameters
            # under a number of its own, as the trial counts where it lies
            self.tree.observe(_ELSEWHERE - trial.number, point, Reading.FAILED)

    def _fits(self, ask: Ask) -> bool:
        """Whether the log of an ask is this tree's."""
        return ask.rule == self._rule.name and self.space.has(ask.named)

    def _spot(self, trial: FrozenTrial, ask: Ask) -> Point | None:
        """The point of an ask, whatever its rule, and of what its branch turned out to have.

        None where its space is another one.
        """
        spot = self.space.spot(ask.named)
        if spot is None:
            return None
        if self._names_all(ask, spot):
            return spot
        more = {name: x for name, x in trial.params.items() if name not in ask.axes}
        return self.space.point({**self.space.params(spot), **more}) or spot

    def _names_all(self, ask: Ask, spot: Point) -> bool:
        """Whether all that there is at its point was known when it was asked for."""
        return self.space.present(spot).keys() <= {*ask.axes}

    def _log(self, number: int, ask: Ask) -> None:
        self._logged.add(number)
        cells = [self.space.lift(cell) for cell in ask.opened]
        if cells and not any(cells):  # of a time when other branches were known
            return
        cursor = self._rule.load(*ask.cursor)
        for place, cell in enumerate(cells):
            if cell is not None:
                self._partition.open(cell, cursor, place)
        for cell, value in ask.bounds:
            self._partition.bound(cell, value)
        self.cursor = self._rule.join(self.cursor, cursor)

    def _point(self, trial: FrozenTrial, spot: Point | None, *, fits: bool) -> Point | None:
        """Where a trial lies: where it was asked to, unless its parameters say otherwise.

        Its objective may end before it has suggested them all. Of another tree, one that is
        complete has suggested all there are in its branch. A claim that was not confirmed is not
        its own.
        """
        if spot is not None:
            partly = ANNOUNCED not in trial.system_attrs[KEY] and (
                fits or trial.state is not TrialState.COMPLETE
            )
            if not trial.state.is_finished() or self.space.at(spot, trial.params, partly=partly):
                return spot
        if trial.state is TrialState.WAITING:
            fixed = trial.system_attrs.get("fixed_params", {})
            return self.space.point({**fixed, **trial.params})
        if trial.state is TrialState.RUNNING:
            return self._to_come(trial)
        return self.space.point(trial.params)

    def _to_come(self, trial: FrozenTrial) -> Point | None:
        """Where a running trial will lie that nobody asked a cell for, if that is known."""
        completed = trial.system_attrs.get(KEY, {})
        if "point" in completed and ANNOUNCED not in completed:
            found = cells.parse_point(completed["point"])
            if (point := self.space.whole(completed["space"], found)) is not None:
                return point
        params = expected(trial, self.space.distributions) if self._inferred else trial.params
        return self.space.point(params)

    def _read_off(self, trial: FrozenTrial, point: Point) -> None:
        if not trial.state.is_finished():
            self.tree.observe(trial.number, point, Reading.FLYING)
        elif (value := _value(trial)) is not None:
            self.tree.observe(trial.number, point, self._sign * value)
        elif _is_interrupted(trial):
            self._bury(trial.number, point)
        else:
            self.tree.observe(trial.number, point, Reading.FAILED)

    def _bury(self, number: int, point: Point) -> None:
        """Frees the point of a worker that died, until it has died there too often."""
        self._deaths[point] = self._deaths.get(point, 0) + 1
        if self._deaths[point] < ATTEMPTS:
            self.tree.forget(number)
        else:
            self.tree.observe(number, point, Reading.FAILED)


def _is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial failed and nothing says that its point is bad.

    A sampler of ours says so in what it keeps in the trial, under a name that begins with `KEY`.
    """
    marks = set(trial.system_attrs)
    for name, kept in trial.system_attrs.items():
        marks |= kept.keys() if name.startswith(KEY) and isinstance(kept, dict) else set()
    return trial.state is TrialState.FAIL and not marks & {FAILED, "failed"}


def has_told(trial: FrozenTrial) -> bool:
    """Whether an ended trial says something of its parameters, if only that they fail."""
    return not _is_interrupted(trial)


def completion(space: AnySpace, point: Point) -> dict[str, Any]:
    """What a trial carries whose parameters were decided in part, and completed to a point."""
    fingerprint, local = space.local(point)
    return {"space": fingerprint, "point": cells.point_name(local)}


def is_asking(trial: FrozenTrial) -> bool:
    """Whether a worker, if it lives, is choosing this trial's point now."""
    return trial.state is TrialState.RUNNING and KEY not in trial.system_attrs and not trial.params


def _then(choice: Choice[CursorT], following: Choice[CursorT]) -> Choice[CursorT]:
    """The second of two choices in a row, with the log of both; the first where it is the last."""
    last = choice if following.cell is None else following
    return replace(
        following,
        cell=last.cell,
        at=last.at,
        opened=choice.opened + following.opened,
        bounds=choice.bounds + following.bounds,
    )


def _value(trial: FrozenTrial) -> float | None:
    """The value a finished trial stands for; a pruned one's is the last it reported."""
    if trial.state is TrialState.COMPLETE:
        return trial.value
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        last = trial.intermediate_values[max(trial.intermediate_values)]
        return None if math.isnan(last) else last
    return None
