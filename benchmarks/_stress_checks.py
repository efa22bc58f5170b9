"""What stress.py makes sure of after a run: reads a study's trials and replays them in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import dataclass
import itertools
import math

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from benchmarks._stress_worker import grid
from benchmarks._stress_worker import Space
from benchmarks._stress_worker import value
from optuna_partition import BaMSOOSampler
from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.cells import Cell
from optuna_partition._rules.believing import DEFAULT
from optuna_partition._rules.soo import SOO
from optuna_partition._space.space import Space as Axes
from optuna_partition._study.attributes import Ask
from optuna_partition._study.fold.given_up import ATTEMPTS
from optuna_partition._study.fold.readings import has_died


Point = tuple[tuple[str, object], ...]
EVERY_CELL = (SOO().name, DEFAULT)  # rules that evaluate cells of the tree only
LEAST_ASKS = 3  # of a new process that goes on, to see that it can


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a study; the samplers of this project must have zero everywhere.

    Args:
        duplicates: Evaluations of points that were evaluated before, but for the repeats that a
            rule has decided on, each once.
        lost: Cells that died with a worker, are not evaluated, and never come again, however long
            the search goes on; None for a sampler without a plan.
        outside: Cells that the rule cannot have come to, and evaluations that it did not ask for;
            None without a tree.
        repeated: Points that a new process asks for though they are evaluated; None without a
            tree.
    """

    duplicates: int
    lost: int | None = None
    outside: int | None = None
    repeated: int | None = None

    @property
    def is_clean(self) -> bool:
        return not any((self.duplicates, self.lost, self.outside, self.repeated))


def judge(
    trials: Sequence[FrozenTrial], sampler: BaseSampler, space: Space, inferred: bool = False
) -> Verdict:
    """Checks a study that has ended.

    Args:
        trials: Of the study, after `storage.recover`: none is a dead worker's any more.
        sampler: A new one of the study's kind.
        space: What the study searched.
        inferred: Whether the sampler was not told.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    evaluated = {_point(trial.params) for trial in complete}
    repeats = {(_point(trial.params), _repeat(trial)) for trial in complete}
    duplicates = len(complete) - len(repeats)
    if isinstance(sampler, optuna.samplers.GridSampler):
        return Verdict(duplicates, lost=_lost_of_grid(trials))
    if not any(Ask.of(trial) for trial in trials):
        return Verdict(duplicates)
    if isinstance(sampler, BaMSOOSampler):  # its next point is what the model says by then
        return Verdict(duplicates, outside=_outside(trials, space, set()))
    early = _early(trials) if inferred else set()
    study = optuna.create_study(sampler=sampler)
    study.add_trials([trial for trial in trials if trial.state.is_finished()])
    lost, repeated = _go_on(study, space, _dead(trials, space), evaluated)
    return Verdict(
        duplicates, lost=lost, outside=_outside(trials, space, early), repeated=repeated
    )


def _repeat(trial: FrozenTrial) -> int:
    ask = Ask.of(trial)
    return 0 if ask is None else ask.repeat


def _go_on(
    study: optuna.Study, space: Space, dead: set[Point], evaluated: set[Point]
) -> tuple[int, int]:
    """Goes on alone until all dead workers' points came again, or there are none left.

    Returns:
        Points that did not come, and points that came although they were evaluated.
    """
    dead, repeated = dead - evaluated, 0
    left = math.prod(len(grid(axis)) for axis in space.values()) - len(evaluated)
    for asked in range(left):
        if not dead and asked >= LEAST_ASKS:
            break
        trial = study.ask()
        study.tell(trial, value(trial, space))
        point = _point(trial.params)
        repeated += point in evaluated
        evaluated.add(point)
        dead.discard(point)
    return len(dead), repeated


def _point(params: dict[str, object]) -> Point:
    return tuple(sorted(params.items()))


def _dead(trials: Sequence[FrozenTrial], space: Space) -> set[Point]:
    """The points that workers left, with fewer deaths than would make them count as failed."""
    axes = Axes(space)
    deaths: Counter[Point] = Counter()  # none where each run was stopped
    for trial in trials:
        ask = Ask.of(trial)
        if trial.state is TrialState.FAIL and ask is not None and not ask.announced:
            point = _point(axes.params(cells.centre(axes.axes, ask.evaluated)))
            deaths[point] += has_died(trial)
    return {point for point, times in deaths.items() if times < ATTEMPTS}


def _outside(trials: Sequence[FrozenTrial], space: Space, early: set[int]) -> int:
    """Counts cells, by what the trials say of themselves and not by the library's fold.

    A cell is reached when it is the whole space or comes of cutting a cell that some ask opened;
    those opened must be reached themselves, so that the chain ends at the whole space. An
    evaluation by DIRECT may also lie inside such a cell: that is one ahead, of a sample wanted
    later.

    Args:
        early: Numbers of trials that need not have been asked for.
    """
    axes = Axes(space).axes
    asks = {t.number: a for t in trials if (a := Ask.of(t)) is not None and not a.announced}
    opened = {named.cell for ask in asks.values() for named in ask.opened}
    reached = {cells.root(axes)}.union(*(_parts(axes, cell) for cell in opened))
    missing = len(opened - reached)
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.number not in early:
            ask = asks.get(trial.number)
            missing += ask is None or (ask.rule in EVERY_CELL and ask.cell not in reached)
    return missing


def _early(trials: Sequence[FrozenTrial]) -> set[int]:
    """Trials that may have begun before the space was known.

    An end is seen by others a little later than its time says, so they may have begun until the
    first trial ended that knew the space.
    """
    ends = [t.datetime_complete for t in trials if Ask.of(t) is not None]
    first = min((end for end in ends if end is not None), default=None)
    starts = ((t.number, t.datetime_start) for t in trials if Ask.of(t) is None)
    return {n for n, start in starts if first is None or (start is not None and start <= first)}


def _parts(axes: Sequence[Axis], cell: Cell) -> set[Cell]:
    """What can come of a cell that is cut on some or all of its longest axes."""
    sides = [
        axis.side(interval) if axis.cut(interval) else 0
        for axis, interval in zip(axes, cell, strict=True)
    ]
    intervals = [
        (interval, *axis.cut(interval)) if side == max(sides) else (interval,)
        for axis, interval, side in zip(axes, cell, sides, strict=True)
    ]
    return set(itertools.product(*intervals)) - {cell}


def _lost_of_grid(trials: Sequence[FrozenTrial]) -> int:
    """GridSampler counts a point as visited when its trial has ended, however it ended."""
    visited: dict[Hashable, set[TrialState]] = {}
    for trial in trials:
        if "grid_id" in trial.system_attrs:
            visited.setdefault(trial.system_attrs["grid_id"], set()).add(trial.state)
    return sum(states == {TrialState.FAIL} for states in visited.values())
