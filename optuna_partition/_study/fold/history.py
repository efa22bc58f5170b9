"""Trials -> tree: the fold over all trials of a study; the same for every rule.

The trials are the truth and the tree is a cache of them. A trial that a partition sampler asked
for carries an `Ask`: its cell, and the log of what that ask did to the tree. Every other trial
counts by where its parameters lie: one of another sampler, and one whose log is of another rule
or another space. The fold is a union of cells, of observations and of cursors, so it does not
depend on the order in which trials end or are read, and it may read a trial as often as it likes:
while it runs, and when it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from optuna_partition._rules.source import Knowledge
from optuna_partition._space.space import AnySpace
from optuna_partition._study.attributes import Ask
from optuna_partition._study.fold.given_up import is_given_up
from optuna_partition._study.fold.overdue import overdue_of
from optuna_partition._study.fold.readings import ended_with
from optuna_partition._study.fold.readings import is_feasible
from optuna_partition._study.fold.readings import is_interrupted
from optuna_partition._study.fold.readings import reported
from optuna_partition._study.fold.readings import value_of
from optuna_partition._study.fold.where import Asked
from optuna_partition._study.fold.where import asked_point
from optuna_partition._study.fold.where import is_elsewhere
from optuna_partition._study.fold.where import names_all
from optuna_partition._study.fold.where import point_of


__all__ = ["History"]

_ELSEWHERE = -(2**40)  # and below: numbers that no trial has


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
        self._settled: set[int] = set()  # those of them that run and whose point is final
        self._interrupted: dict[Point, dict[int, FrozenTrial]] = {}  # by point and number
        self._repeats: dict[Point, int] = {}  # point -> the last repeat of it that was asked for
        self._latest: FrozenTrial | None = None  # of those that have begun when they were read
        self._is_stale = False  # whether a fresh fold would cut otherwise

    def remember(self, knowledge: Knowledge) -> None:
        """Tells the rule what is known before the first trial."""
        self._partition.remember(knowledge)

    # ---- all trials ----

    def continues(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these are the trials read so far and perhaps more: ids can be used again.

        Nor is that so where the tree was cut without a trial that is waited for again, or has
        ended: with it, it would be cut otherwise.
        """
        if self._is_stale or len(trials) < self._read:
            return False
        latest = self._latest
        if latest is not None and trials[latest.number].datetime_start != latest.datetime_start:
            return False
        return not self._forgets(self._overdue_in(trials))

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Folds in what has changed; `trials` is the whole study in the order of numbers."""
        overdue = self._overdue_in(trials)
        self._is_stale |= self._forgets(overdue)
        self.tree.wait_no_more(overdue)
        fresh = trials[self._read :]
        waiting = (*(trials[number] for number in self._pending), *fresh)
        for trial in waiting:
            self._hear(trial)
        pending = [t.number for t in waiting if self._says_no_more(t) or not self.fold(t)]
        # they count as read when all are: one that Ctrl-C keeps from it comes again
        begun = (trial for trial in reversed(fresh) if trial.datetime_start is not None)
        self._latest = next(begun, self._latest)
        self._pending, self._read = pending, len(trials)
        self._partition.settle()

    def _forgets(self, overdue: frozenset[int]) -> bool:
        """Whether the tree may have been cut without a trial that is not overdue any more."""
        return self._partition.cuts_by_values and not self.tree.overdue <= overdue

    def _overdue_in(self, trials: Sequence[FrozenTrial]) -> frozenset[int]:
        """The trials that are not waited for."""
        waiting = (*(trials[number] for number in self._pending), *trials[self._read :])
        return overdue_of([t for t in waiting if not t.state.is_finished()], len(trials))

    def _says_no_more(self, trial: FrozenTrial) -> bool:
        """Whether a running trial's point is final, so that only its end is news."""
        return trial.number in self._settled and not trial.state.is_finished()

    def holds(self, trial: FrozenTrial, point: Point, repeat: int = 0) -> bool:
        """Whether a trial that once claimed a point may still have it, or has evaluated it.

        Args:
            trial: The trial.
            point: The point.
            repeat: Which repeat of it the claim is on.
        """
        ask = Ask.of(trial)
        if ask is None:  # it has claimed and not yet written down what
            return not trial.state.is_finished()
        if self.space.point_of(ask.named) != point or ask.repeat != repeat:
            return False
        if trial.state.is_finished() and is_elsewhere(self.space, trial, point):
            return False
        return trial.state is not TrialState.FAIL or ask.failed

    def hold(self, number: int, point: Point, asking: int, repeat: int = 0) -> None:
        """Leaves a point to the trial that has claimed it and perhaps not yet written it down."""
        self._count(point, repeat)
        if not self.tree.has(point, but=asking) or (repeat and number not in self.tree.numbers()):
            self.tree.observe(number, point, Reading.FLYING)
            self._partition.settle()

    def _next_repeat(self, point: Point) -> int:
        """The number of a point's next repeat; that of a repeat which was lost is not used again.

        So no worker asks for a repeat that another one has.
        """
        return self._repeats.get(point, 0) + 1

    def _count(self, point: Point, repeat: int) -> None:
        if repeat:
            self._repeats[point] = max(repeat, self._repeats.get(point, 0))

    # ---- what comes next ----

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
            if choice.evaluated is None:
                break
            self.tree.observe(number, self._centre(choice.evaluated), Reading.FLYING)
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

    def log(self, choice: Choice[CursorT], point: Point, *, partial: bool) -> Ask:
        """What a trial is to carry of a choice, by the names of its own parameters.

        Args:
            choice: It has a cell.
            point: Of that cell.
            partial: Whether some parameters are fixed, so that this is not the study's whole tree.
        """
        assert choice.cell is not None
        asked = self.space.asked(choice.cell)
        return Ask(
            rule=self._rule.name,
            space=asked.space,
            axes=asked.axes,
            cell=asked.cell,
            opened=tuple(map(self.space.opened, choice.opened)),
            cursor=self._rule.dump(choice.cursor),
            partial=partial,
            at=choice.at,
            bounds=choice.bounds,
            repeat=self._next_repeat(point) if choice.repeats else 0,
        )

    # ---- the fold ----

    def fold(self, trial: FrozenTrial) -> bool:
        """Folds in one trial as it is now; whether that was its last word."""
        is_over = self._fold(trial)
        known = self.space.distributions
        if any(n not in known and not d.single() for n, d in trial.distributions.items()):
            self._partition.may_repeat = False
        self._partition.settle()
        return is_over

    def _fold(self, trial: FrozenTrial) -> bool:
        """What its ask did to the tree, then where it lies, then what it says there."""
        asked = self._asked(trial)
        self.misfits.pop(trial.number, None)
        if asked is not None:
            self._replay_once(trial.number, asked)
        point = point_of(self.space, trial, asked, inferred=self._inferred)
        if point is not None:
            log = asked.ask if asked is not None and asked.fits else None
            self._observe(trial, point, None if log is None else self.space.lift(log.named))
        if asked is not None and asked.fits and not asked.ask.announced:
            self._release_asked_point(trial, asked, point)
        if not trial.state.is_finished():
            return False
        if point is None:
            self.tree.forget(trial.number)  # it may have held a point that it never wrote down
        self._logged.discard(trial.number)
        self._settled.discard(trial.number)
        return True

    def _asked(self, trial: FrozenTrial) -> Asked | None:
        """What the trial was asked for; None where no partition sampler asked."""
        ask = Ask.of(trial)
        if ask is None:
            return None
        asked = Asked(ask, asked_point(self.space, trial, ask), self._fits(ask))
        if asked.point is not None:
            self._count(asked.point, ask.repeat)
        return asked

    def _fits(self, ask: Ask) -> bool:
        """Whether the log of an ask is this tree's."""
        return (
            ask.rule == self._rule.name
            and self.space.has(ask.named)
            and self._is_known(ask.cursor)
        )

    def _is_known(self, cursor: tuple[Any, ...]) -> bool:
        """Whether a cursor is this version's: later ones may keep more."""
        try:
            self._rule.load(*cursor)
        except (TypeError, ValueError):
            return False
        return True

    def _replay_once(self, number: int, asked: Asked) -> None:
        """Puts the log that a trial carries into the tree, once, or the trial to the misfits."""
        if not asked.fits:
            self.misfits[number] = replace(asked.ask, opened=(), bounds=())
        elif not asked.ask.announced and number not in self._logged:
            self._logged.add(number)
            self._replay(asked.ask)

    def _replay(self, ask: Ask) -> None:
        """Does to the tree what the ask did."""
        opened = [self.space.lift(cell) for cell in ask.opened]
        if opened and not any(opened):  # of a time when other branches were known
            return
        cursor = self._rule.load(*ask.cursor)
        for place, cell in enumerate(opened):
            if cell is not None:
                self._partition.open(cell, cursor, place)
        for cell, value in ask.bounds:
            self._partition.bound(cell, value)
        self.cursor = self._rule.join(self.cursor, cursor)

    def _release_asked_point(self, trial: FrozenTrial, asked: Asked, point: Point | None) -> None:
        """Blocks or frees the point that a trial was asked for, where it was not evaluated."""
        if asked.point is None:
            return
        whole = names_all(self.space, asked.ask, asked.point)
        if not trial.state.is_finished():
            if whole:
                self._settled.add(trial.number)
        elif point == asked.point or not is_elsewhere(self.space, trial, asked.point):
            if is_interrupted(trial) and (cell := self.space.lift(asked.ask.named)) is not None:
                self.tree.interrupted[trial.number] = cell
        elif whole:  # else it has not left its point, but come to more parameters
            # under a number of its own, as the trial counts where it lies
            self.tree.observe(_ELSEWHERE - trial.number, asked.point, Reading.FAILED)

    # ---- what it says there ----

    def _observe(self, trial: FrozenTrial, point: Point, asked: Cell | None) -> None:
        if not trial.state.is_finished():
            self.tree.observe(trial.number, point, Reading.FLYING, asked=asked)
        elif is_interrupted(trial):
            self._observe_interrupted(trial, point)
        else:
            self._observe_ended(trial, point, asked)

    def _hear(self, trial: FrozenTrial) -> None:
        """Tells the rule what a trial has reported so far."""
        if reports := reported(trial, self._sign):
            self._partition.hear(trial.number, reports, ended_with(trial, self._sign))

    def _observe_ended(self, trial: FrozenTrial, point: Point, asked: Cell | None) -> None:
        """Reads off what an ended trial measured, and whether that is feasible."""
        value = value_of(trial)
        value = None if value is None else self._sign * value
        constraints = tuple(sorted(trial.constraints.items()))
        reading: float | Reading = Reading.FAILED if value is None else value
        if trial.state is not TrialState.FAIL and not is_feasible(trial):
            reading = Reading.INFEASIBLE
        self.tree.observe(trial.number, point, reading, constraints, value, asked)

    def _observe_interrupted(self, trial: FrozenTrial, point: Point) -> None:
        """Frees the point of a run that has ended, unless that was too often."""
        here = self._interrupted.setdefault(point, {})
        here[trial.number] = trial
        if is_given_up(here.values()):
            self.tree.observe(trial.number, point, Reading.FAILED)
        else:
            self.tree.forget(trial.number)


def _then(choice: Choice[CursorT], following: Choice[CursorT]) -> Choice[CursorT]:
    """The second of two choices in a row, with the log of both; the first where it is the last."""
    last = choice if following.cell is None else following
    return replace(following.after(choice), cell=last.cell, at=last.at, repeats=last.repeats)
