"""A study's trials as a report needs them: best, failures, seconds, importance; draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.record import FAILURE
from objectives.report import scales


__all__ = ["PARTS", "History", "duration", "importance", "is_interrupted", "parts", "state_of"]
__all__ += ["value_of"]

# Where the objective leaves its times (user attributes, seconds) and what a reader calls them.
PARTS = {
    "seconds_setup": "set-up",
    "seconds_training": "training",
    "seconds_scoring": "scoring",
}

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
INTERRUPTED = "interrupted"


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial was cut off: Optuna has failed it, and it has no failure of its own."""
    return trial.state is TrialState.FAIL and FAILURE not in trial.user_attrs


def state_of(trial: FrozenTrial) -> str:
    """For a reader."""
    return INTERRUPTED if is_interrupted(trial) else STATES[trial.state]


@dataclass(frozen=True)
class History:
    """The trials of a single-objective study, in the order of their numbers.

    Attributes:
        trials: Every trial of the study, whatever its state.
        space: The searched parameters. A trial that lacks one, or has it outside its range, is
            left out of the figures of that parameter.
        minimise: Whether lower values are better.
        value_name: What a value is, for a reader.
        chosen: The number of the best trial, where it is not the one with the best value.
    """

    trials: tuple[FrozenTrial, ...]
    space: Mapping[str, BaseDistribution]
    minimise: bool
    value_name: str = "value"
    chosen: int | None = None

    @classmethod
    def of(
        cls,
        study: optuna.Study,
        space: Mapping[str, BaseDistribution],
        value_name: str = "value",
        chosen: int | None = None,
    ) -> History:
        trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        minimise = study.direction == StudyDirection.MINIMIZE
        return cls(tuple(trials), dict(space), minimise, value_name, chosen)

    @cached_property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """Trials with a value, which may be infinite."""
        return self.that_are(TrialState.COMPLETE)

    def that_are(self, state: TrialState) -> tuple[FrozenTrial, ...]:
        """The trials in that state; one that was interrupted says nothing, and is in none."""
        return tuple(t for t in self.trials if t.state == state and not is_interrupted(t))

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The complete trial that was chosen, or the first one with the best value."""
        if self.chosen is not None:
            return next(trial for trial in self.complete if trial.number == self.chosen)
        return min(self.complete, key=lambda t: self.loss(t), default=None)

    @cached_property
    def window(self) -> scales.Window:
        """The range of values that figures show; further ones are drawn at its worse edge."""
        return scales.value_window([value_of(t) for t in self.complete], self.minimise)

    @cached_property
    def shades(self) -> tuple[float, float]:
        """The values of the lightest and the darkest colour, lower first.

        The colours end twice as far from the best value as the median lies: most trials of
        a search that works are good ones, and differences between these are what one looks for.
        """
        losses = sorted(self.loss(t) for t in self.complete if self.window.shows(value_of(t)))
        if not losses or losses[len(losses) // 2] == losses[0]:
            return self.window.low, self.window.high
        worst = min(2 * losses[len(losses) // 2] - losses[0], losses[-1])
        low, high = losses[0], worst
        return (low, high) if self.minimise else (-high, -low)

    def loss(self, trial: FrozenTrial) -> float:
        """The value with its sign turned so that lower is better."""
        return value_of(trial) if self.minimise else -value_of(trial)

    def running_best(self) -> list[tuple[int, float]]:
        """(trial number, best value up to it) for every complete trial."""
        bests: list[FrozenTrial] = []
        for trial in self.complete:
            better = not bests or self.loss(trial) < self.loss(bests[-1])
            bests.append(trial if better else bests[-1])
        return [(t.number, value_of(b)) for t, b in zip(self.complete, bests, strict=True)]

    def placed(self, name: str, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of `trials` that have the parameter `name` with a value inside the space."""
        having = [t for t in trials if name in t.params]
        return [t for t in having if scales.holds(self.space[name], t.params[name])]

    def varies(self, name: str) -> bool:
        """Whether trials have tried more than one value of the parameter."""
        return len({t.params[name] for t in self.placed(name, self.trials)}) > 1

    def counts(self) -> dict[str, int]:
        """State -> number of trials, without the states that no trial is in."""
        found, words = [state_of(trial) for trial in self.trials], [*STATES.values(), INTERRUPTED]
        return {word: found.count(word) for word in words if word in found}

    def seconds(self) -> float:
        """The sum of the durations of all trials that have ended."""
        return sum(duration(trial) for trial in self.trials)


def value_of(trial: FrozenTrial) -> float:
    """A trial's value; of a pruned one the last reported; nan when there is none."""
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        return trial.intermediate_values[trial.last_step]
    return math.nan if trial.value is None else trial.value


def duration(trial: FrozenTrial) -> float:
    """Seconds from start to end, 0 while it has not ended."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def parts(trial: FrozenTrial) -> dict[str, float]:
    """Name of a part -> its seconds; what the objective did not account for is "other"."""
    known = {name: _seconds(trial.user_attrs.get(key)) for key, name in PARTS.items()}
    return known | {"other": max(0.0, duration(trial) - sum(known.values()))}


def _seconds(attribute: Any) -> float:
    usable = isinstance(attribute, int | float) and math.isfinite(attribute)
    return max(0.0, float(attribute)) if usable else 0.0


def importance(history: History) -> dict[str, float]:
    """How much of the ranking of the trials each parameter explains, most important first.

    The complete trials are ranked by value and grouped by the third of the parameter's range they
    lie in (by category when it is categorical); the share of the ranks' variance that lies between
    the groups, less what chance would give, is the importance (epsilon squared of Kruskal and
    Wallis).

    Unlike a rank correlation it sees an optimum in the middle of a range, and unlike PED-ANOVA it
    is right on the few, repeated coordinates of a partition: with 6 parameters of which 2 matter,
    24 to 200 trials of a textbook SOO and 20 seeds each, it named the right two in 50 to 85 % of
    the studies, PED-ANOVA in 0 to 50 %, Spearman in 0 to 5 %. On random points all three
    agree from 80 trials on.

    Returns:
        Parameter -> share in 0..1 (0 when too few trials can tell).
    """
    shares = {name: _explained(history, name) for name in history.space}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _explained(history: History, name: str) -> float:
    from scipy.stats import kruskal  # only a report needs it, and a worker writes none

    trials, distribution = history.placed(name, history.complete), history.space[name]
    groups: dict[int, list[float]] = {}
    for trial in trials:
        groups.setdefault(_group(distribution, trial.params[name]), []).append(history.loss(trial))
    n, k = len(trials), len(groups)
    if n < 3 or k in (1, n) or len(set().union(*groups.values())) == 1:
        return 0.0
    return max(0.0, float((kruskal(*groups.values()).statistic - k + 1) / (n - k)))


def _group(distribution: BaseDistribution, value: Any) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return int(scales.position(distribution, value))
    return min(int(3 * scales.unit(distribution, value)), 2)
