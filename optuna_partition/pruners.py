"""The pruner: what cannot win is stopped, by what all curves of a study say of ends; no torch."""

from __future__ import annotations

from collections.abc import Sequence
import math
from numbers import Integral
import statistics
from typing import final

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._rules.curves import Curve
from optuna_partition._rules.curves import Curves
from optuna_partition._space.union import Union
from optuna_partition._study.arguments import check_number
from optuna_partition._study.arguments import checked_flag
from optuna_partition._study.fold.readings import ended_with
from optuna_partition._study.fold.readings import is_feasible
from optuna_partition._study.fold.readings import reported
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.optuna import trials_of


__all__ = ["BoundPruner"]

_MOST_CURVES = 200  # the latest, so that the time of a report levels off: at some 50 ms
_RACERS = 10
"""The first trials of a study: what they report says little of ends yet, and much of ranks."""
_RUNGS = (1 / 9, 1 / 3)
"""Shares of a whole trial: there a racer is stopped that is not in the best share of all."""
_BEST_SHARE = 1 / 3


@final
class BoundPruner(BasePruner):
    """Stops a trial whose value at the end is hardly below the best one that a study has.

    What a value says of the end is learnt from all trials of the study, as regressions from step
    to step. Those that were stopped count, too, as far as they came. A trial is stopped where the
    lower confidence bound of its end is above the best value of a complete trial: BaMSOO spares
    evaluations by the same bound (Wang, Shakibi, Jin and de Freitas 2014), and here it spares the
    rest of one. A trial whose last report is better than those of all complete ones goes on.

    The first ten trials race, since a few curves forecast nothing: after a ninth and a third of a
    training one goes on only if it is in the best third of those that came so far (asynchronous
    successive halving, Li et al. 2020, algorithm 2). So many are looked at for the price of a few.
    Where several run at once, as many more race.

    It works with every sampler and storage, in any number of workers, and keeps nothing between
    calls: what it says follows from the trials alone. Steps may be of any size, and trials may
    report at different ones. With `BaMSOOSampler` a stopped trial counts by its expected end, and
    its parameters are asked for again when that has become attractive. Then the trial goes on:
    it is not stopped at the steps that were reported before, and an objective that has kept a
    checkpoint can continue from it. At the last step there is nothing left to save, and none is
    stopped. Who reports NaN before is stopped after the startup trials.

    Args:
        risk: How likely a trial that is stopped may have become the best. Larger stops more. For a
            trial that goes on it is less: its square after one stop, its cube after two. The race
            goes by ranks alone.
        n_startup_trials: Complete trials before any is stopped; with `last_step` before any is by
            what is forecast.
        race: Whether the first trials race.
        last_step: That of a whole trial, if it is known. Then the race waits for no complete one,
            which matters where many workers begin together.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> import optuna
        >>> from optuna_partition import BaMSOOSampler
        >>> from optuna_partition import BoundPruner
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", -4, 5)
        ...     for step in range(1, 9):
        ...         trial.report(x**2 + 1 / step, step)
        ...         if trial.should_prune():
        ...             raise optuna.TrialPruned
        ...     return x**2
        >>> study = optuna.create_study(sampler=BaMSOOSampler(), pruner=BoundPruner())
        >>> study.optimize(objective, n_trials=20)
    """

    def __init__(
        self,
        *,
        risk: float = 0.05,
        n_startup_trials: int = 1,
        race: bool = True,
        last_step: float | None = None,
    ) -> None:
        check_number("risk", risk, "0 < risk < 1", "0.05")
        if not 0 < risk < 1:
            raise ValueError(f"`0 < risk < 1` must hold, but got ({risk=}); 0.05 is usual.")
        is_integer = isinstance(n_startup_trials, Integral)
        if not is_integer or isinstance(n_startup_trials, bool) or n_startup_trials < 1:
            raise ValueError(
                "`n_startup_trials` must be an integer and `n_startup_trials >= 1`, but got "
                f"({n_startup_trials=}); 1 is usual."
            )
        self._risk, self._n_startup_trials = float(risk), int(n_startup_trials)
        self._race, self._last_step = checked_flag("race", race), last_step
        if last_step is not None:
            check_number("last_step", last_step, "0 < last_step < inf", "8")
            if not 0 < last_step < math.inf:
                raise ValueError(
                    f"`0 < last_step < inf` must hold, but got ({last_step=}); None is what "
                    "complete trials say."
                )

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        sign, trials = sign_of(study.direction), trials_of(study)
        reports = reported(trial, sign)
        ends = [e for t in trials if is_feasible(t) and (e := ended_with(t, sign)) is not None]
        is_early = len(ends) < self._n_startup_trials
        if _has_diverged(trial):
            return not is_early and (trial.last_step or 0) < _usual_end(trials, self._last_step)
        if not reports or (is_early and self._last_step is None):
            return False
        step, value = reports[-1]
        if value <= _best_last_report(trials, sign):
            return False
        before, end = _stops(trial, trials), _usual_end(trials, self._last_step)
        if step <= max(before, default=-math.inf) or step >= end:
            return False
        told = [t for t in trials if t.intermediate_values and t.number != trial.number]
        races = self._race and not before and _is_racer(trial, trials)
        at_rung = races and _is_at_rung(reports, end)
        if at_rung and not _is_ahead(value, step, [reported(t, sign) for t in told]):
            return True
        if is_early:
            return False
        curves = _curves([*told[-_MOST_CURVES:], trial], sign)
        known = Curves.of(curves, [step])
        risk = self._risk ** (1 + len(before))
        return known is not None and known.ends(curves[-1:]).chance_below(min(ends)) < risk


def _has_diverged(trial: FrozenTrial) -> bool:
    """Whether the last report is no number: Optuna's pruners stop such a trial, too."""
    step = trial.last_step
    return step is not None and math.isnan(trial.intermediate_values[step])


def _is_racer(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial is one of the first, of which there are more where more run at once."""
    running = sum(t.state is TrialState.RUNNING for t in trials)
    return trial.number < _RACERS + max(running - 1, 0)


def _is_at_rung(reports: Sequence[tuple[float, float]], end: float) -> bool:
    """Whether the last report is the first one at or beyond a rung."""
    steps = [-math.inf, *(step for step, _ in reports)]
    return any(steps[-2] < rung * end <= steps[-1] for rung in _RUNGS)


def _is_ahead(value: float, step: float, others: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Whether a value is in the best share of all at its step; of few it is the best.

    Between reports a trial is on a straight line.
    """
    lines = [zip(*reports, strict=True) for reports in others if reports]
    there = [
        float(np.interp(step, steps, values, left=math.nan, right=math.nan))
        for steps, values in lines
    ]
    n = 1 + sum(not math.isnan(x) for x in there)
    return sum(x < value for x in there) < max(1, int(n * _BEST_SHARE))


def _curves(trials: Sequence[FrozenTrial], sign: float) -> list[Curve]:
    """Of those that have reported a number."""
    told = [(t, r) for t in trials if (r := reported(t, sign))]
    union = Union.of([t for t, _ in told])
    places = np.array(union.units, dtype=np.float64).reshape(len(told), len(union.axes))
    curves = []
    for x, (trial, reports) in zip(places, told, strict=True):
        steps, values = np.array(reports).T
        curves.append(Curve(x, steps, values, ended_with(trial, sign)))
    return curves


def _usual_end(trials: Sequence[FrozenTrial], known: float | None) -> float:
    """The step at which trials end: there is nothing left to save there."""
    if known is not None:
        return known
    whole = (t for t in trials if t.state is TrialState.COMPLETE and t.intermediate_values)
    lasts = [max(trial.intermediate_values) for trial in whole]
    return statistics.median(lasts) if lasts else math.inf


def _best_last_report(trials: Sequence[FrozenTrial], sign: float) -> float:
    """Of complete trials; a report may be of something else than the value a trial ends with."""
    whole = [t for t in trials if is_feasible(t) and ended_with(t, sign) is not None]
    return min((r[-1][1] for t in whole if (r := reported(t, sign))), default=-math.inf)


def _stops(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[int]:
    """The steps at which trials with the same parameters were stopped before."""
    return [
        max(other.intermediate_values)
        for other in trials[: trial.number]
        if other.state is TrialState.PRUNED
        and other.params == trial.params
        and other.intermediate_values
    ]
