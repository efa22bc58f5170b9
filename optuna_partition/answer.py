"""What a study says where its values are noisy: its best points; reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass
from importlib.util import find_spec
import math
import statistics

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._gp.models import moments
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import AS_GOOD_AS_INFINITE
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import thinned
from optuna_partition._rules.belief import winsorised
from optuna_partition._rules.repeats import is_noisy
from optuna_partition._space.union import Union
from optuna_partition._study.fold.readings import is_feasible
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.optuna import trials_of


__all__ = ["Best", "best_trial", "ranked_trials"]

_FEWEST_VALUES = 4
_MOST_VALUES = 1000  # beyond, a model takes more than seconds
_REACH = 1.96  # standard deviations from the mean to an end of a 95 % interval


@dataclass(frozen=True)
class Best:
    """A point of a study, and what the study says of the objective there.

    Args:
        trial: The trial with these parameters; of several the one with the best value.
        value: As observed; of several trials with exactly these parameters the mean.
        mean: What a model of all trials expects of the objective here, without the noise of an
            evaluation; `value` where there is no model, or where the model finds no noise.
        deviation: The standard deviation of that; nan where there is no model.
        repeats: How many complete trials have exactly these parameters.
    """

    trial: FrozenTrial
    value: float
    mean: float
    deviation: float
    repeats: int

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the objective here; nan where there is no model."""
        return self.mean - _REACH * self.deviation

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of the objective here; nan where there is no model."""
        return self.mean + _REACH * self.deviation

    @property
    def believed(self) -> bool:
        """Whether there is a model of the objective here.

        There is none of fewer than four values, of trials that all have the same parameters, and
        where a value is infinite, or so bad that the model does not tell it from others; nor where
        a model explains no more than chance would, or where a point that was evaluated twice shows
        no noise.
        """
        return not math.isnan(self.deviation)


def best_trial(study: Study) -> Best:
    """The trial at the best point that was evaluated, as far as all trials tell.

    Where values are noisy, `study.best_trial` is the luckiest of the good trials. This is the one
    of the best posterior mean: a Gaussian process over the parameters of all trials tells noise
    from what their neighbours have, too. Without noise the two are the same.

    Needs BoTorch: ``pip install "optuna-partition[botorch]"``.

    Args:
        study: Of any sampler, with one objective. Complete trials count; of those with
            constraints, the feasible ones can be the best.

    Raises:
        ImportError: BoTorch is not installed.
        ValueError: The study has several objectives, or no complete and feasible trial.

    Example:
        >>> import optuna
        >>> import optuna_partition
        >>> study = optuna.create_study()
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
        >>> best = optuna_partition.best_trial(study)
        >>> best.low <= best.mean <= best.high
        True
    """
    found = ranked_trials(study, 1)
    if not found:
        trials = trials_of(study)
        n_complete = sum(trial.state is TrialState.COMPLETE for trial in trials)
        raise ValueError(
            "`study` must have a complete trial that meets all constraints, but got "
            f"(n_trials={len(trials)}, {n_complete} complete, 0 feasible); "
            + ("go on, or loosen the constraints." if n_complete else "optimize it first.")
        )
    return found[0]


def ranked_trials(study: Study, n: int | None = None) -> list[Best]:
    """The best points that were evaluated, each once, the best first; see `best_trial`.

    Args:
        study: As for `best_trial`.
        n: How many at most; all by default.

    Raises:
        ImportError: BoTorch is not installed.
        ValueError: The study has several objectives, or `n` is no number of trials.
    """
    _check(study, n)
    trials = [trial for trial in trials_of(study) if trial.state is TrialState.COMPLETE]
    points = _points(trials, sign_of(study.direction))
    means, deviations = _moments(trials, points)
    order = [i for i in np.argsort(means, kind="stable") if points[i].is_feasible]
    return [points[i].best(float(means[i]), float(deviations[i])) for i in order[:n]]


def _check(study: Study, n: int | None) -> None:
    if not isinstance(study, Study):
        raise ValueError(
            f"`study` must be an `optuna.Study`, but got ({study!r}); `optuna.load_study` gives "
            "one."
        )
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
        raise ValueError(f"`n` must be an integer and `n >= 0`, but got ({n=}); None is all.")
    if find_spec("botorch") is None:
        raise ImportError(
            "`best_trial` and `ranked_trials` need BoTorch; install it with "
            '`pip install "optuna-partition[botorch]"`, or use `study.best_trial`.'
        )
    if len(study.directions) > 1:
        raise ValueError(
            f"`study` must have one objective, but got ({study.directions=}); of several, "
            "`study.best_trials` has the best trials."
        )


@dataclass(frozen=True)
class _Point:
    """Complete trials with exactly the same parameters.

    Args:
        trials: By number.
        row: The place of the first among all complete trials.
        sign: +1 when the study minimises, -1 when it maximises.
    """

    trials: Sequence[FrozenTrial]
    row: int
    sign: float

    @property
    def loss(self) -> float:
        """The mean of the values, smaller being better; the worst where one is out of range."""
        is_safe = all(abs(loss) < AS_GOOD_AS_INFINITE for loss in self.losses)
        return statistics.fmean(self.losses) if is_safe else max(self.losses)

    @property
    def losses(self) -> list[float]:
        """The values, smaller being better."""
        return [_loss(trial, self.sign) for trial in self.trials]

    @property
    def is_feasible(self) -> bool:
        """Whether no trial here has broken a constraint."""
        return all(map(is_feasible, self.trials))

    def best(self, mean: float, deviation: float) -> Best:
        """What is told of it, given the moments of its loss."""
        trial = min(self.trials, key=lambda trial: _loss(trial, self.sign))
        value, mean = self.sign * self.loss, self.sign * mean
        return Best(copy.deepcopy(trial), value, mean, deviation, len(self.trials))


def _loss(trial: FrozenTrial, sign: float) -> float:
    assert trial.value is not None, "it is complete"
    return sign * trial.value


def _points(trials: Sequence[FrozenTrial], sign: float) -> list[_Point]:
    """The different points, in the order of their first trials."""
    rows: dict[str, list[int]] = {}
    for row, trial in enumerate(trials):
        rows.setdefault(repr(sorted(trial.params.items())), []).append(row)
    return [_Point([trials[row] for row in each], each[0], sign) for each in rows.values()]


def _moments(trials: Sequence[FrozenTrial], points: Sequence[_Point]) -> tuple[Array, Array]:
    """Mean and standard deviation of each point's loss.

    The mean is as observed where there is no model, and where the model finds no noise.
    """
    observed = np.array([point.loss for point in points])
    unknown = np.full(len(points), math.nan)
    found = _believed(trials, points)
    if found is None:
        return observed, unknown
    means, deviations, has_noise, worst = found
    is_seen = observed <= worst
    return (
        np.where(is_seen & has_noise, means, observed),
        np.where(is_seen, deviations, unknown),
    )


def _believed(
    trials: Sequence[FrozenTrial], points: Sequence[_Point]
) -> tuple[Array, Array, bool, float] | None:
    """The model's moments at points, whether it finds noise, and the worst loss that it sees.

    None where there is no model. What is infinite is no noise of something finite, and not told
    to the model. What is far from the best is drawn in, and the model says nothing of it.
    """
    losses = np.array([_loss(trial, points[0].sign) for trial in trials] if points else [])
    if is_noisy([point.losses for point in points]) is False:
        return None
    union = Union.of(trials)
    # A model draws in what is far from the best: infeasible values would be all that it sees.
    feasible = np.array([is_feasible(trial) for trial in trials], dtype=bool)
    known = np.flatnonzero(feasible & (np.abs(losses) < AS_GOOD_AS_INFINITE))
    if not union.axes or len(known) < _FEWEST_VALUES:
        return None
    x = np.array(union.units)
    kept = known[thinned(np.argsort(losses[known], kind="stable"), _MOST_VALUES)]
    evidence = Evidence(x[kept], losses[kept], x[:0], len(losses))
    found = moments(union.axes, evidence, x[[point.row for point in points]])
    return None if found is None else (*found, float(winsorised(losses[kept]).max()))
