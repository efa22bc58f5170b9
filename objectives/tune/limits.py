"""When a search ends: by trials, trainings or time; reads the study and the clock, writes nothing.

expected      what nine of ten of the last trials did not exceed
end           of the search: when the command is to be done, less what comes after the search
begun         is a trial only where what is expected of it is left; the first ones always
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import math
import time

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.command.failures import alike
from objectives.report.scales import seconds
from objectives.report.spent import shares
from objectives.result.final import base_exam
from objectives.result.final import DEFAULTS
from objectives.settings.plan import Plan
from objectives.tune.progress import finished


__all__ = ["Limits"]

RECENT_TRIALS = 20  # older ones may be of another machine, pruner or search
QUANTILE = 0.9  # of what they took is expected of the next
REPORT_SECONDS = 20.0  # a model of all trials, the report, the best adapter
MOST_REPORTS = 100  # of a trainer that is not this project's, for what a trial takes at least
EXHAUSTED = "every point of the search space is evaluated"
SLOWER = 1.5  # than the base is a base with an adapter, at most


class Limits:
    """Of one call of the command."""

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self._plan, self._study = plan, study
        self._budget = plan.budget

    def wanted(self, done: Sequence[FrozenTrial]) -> float:
        """How many trials may still end after those that are done; others may run already."""
        if alike(done):  # the next ones would fail as all have
            return 0
        return min(self._trials(done), self._trainings(done), self._in_time(done))

    def is_over(self, done: Sequence[FrozenTrial]) -> bool:
        """Whether more time would bring no other trial."""
        return alike(done) is not None or min(self._trials(done), self._trainings(done)) <= 0

    def end(self) -> float:
        """When trials that still run are cut off, in seconds since the epoch."""
        if self._plan.until is None:
            return math.inf
        return self._plan.until - self._kept_back(finished(self._study))

    def left(self, done: Sequence[FrozenTrial]) -> str | None:
        """What is left of the budget, for people; None where there is none."""
        if self._plan.until is not None:
            left = f"{seconds(max(0.0, self._plan.until - time.time()))} left"
            return left if self._budget is None else f"{left} of {self._budget.text}"
        if self._budget is None or self._budget.trainings is None:
            return None
        rest = max(0.0, self._budget.trainings - math.fsum(shares(done)))
        return f"{rest:.3g} of {self._budget.trainings} trainings left"

    def in_time_for(self, row: str) -> bool:
        """Whether that row of the final test will be there before the command is to be done."""
        exam = base_exam(self._study, self._plan.experiment.tests)
        if self._plan.until is None or exam is None:
            return True
        training = self._training(finished(self._study)) if row == DEFAULTS else 0.0
        return time.time() + training + exam.seconds < self._plan.until

    def why_ended(self, exhausted: bool) -> str | None:
        """Why the search is over, for people; None where that goes without saying.

        Args:
            exhausted: Whether every point has been evaluated.
        """
        done = finished(self._study)
        if failure := alike(done):
            return f"all {len(done)} trials have failed in the same way: {failure}"
        left = self.left(done)
        if exhausted:
            return "; ".join(filter(None, [EXHAUSTED, left]))
        if self._budget is None:
            return None
        if self._trials(done) <= 0:
            return f"{len(done)} trials are finished; {left}"
        return f"{left}{self._next_may_take(done)}"

    def _next_may_take(self, done: Sequence[FrozenTrial]) -> str:
        if self._plan.until is None:
            return f", and the next trial may take {self._expected_share(done):.3g}"
        kept, durations = self._kept_back(done), _durations(done)
        after = f", {seconds(kept)} of it for what follows" if kept else ""
        takes = f", and the next trial may take {seconds(_expected(durations))}"
        return f"{after}{takes if durations else ''}"

    def _trials(self, done: Sequence[FrozenTrial]) -> float:
        return math.inf if self._plan.trials is None else self._plan.trials - len(done)

    def _trainings(self, done: Sequence[FrozenTrial]) -> float:
        if self._budget is None or self._budget.trainings is None:
            return math.inf
        left = self._budget.trainings - math.fsum(shares(done))
        return math.floor(left / self._expected_share(done) + 1e-9)  # floats add up to less

    def _expected_share(self, done: Sequence[FrozenTrial]) -> float:
        least = 1 / (self._plan.experiment.n_reports or MOST_REPORTS)
        return max(least, _expected(shares(done), first=1.0))

    def _in_time(self, done: Sequence[FrozenTrial]) -> float:
        if self._plan.until is None:
            return math.inf
        left = self._plan.until - self._kept_back(done) - time.time()
        return math.inf if left > _expected(_durations(done)) else 0

    def _kept_back(self, done: Sequence[FrozenTrial]) -> float:
        """Seconds for what follows the search; where that is long, the search has half of all."""
        assert self._budget is not None and self._budget.seconds is not None
        return min(self._afterwards(done), self._budget.seconds / 2)

    def _afterwards(self, done: Sequence[FrozenTrial]) -> float:
        """Seconds of what the command does after the search, with room for error."""
        if self._plan.search_only and not self._plan.test_follows:
            return 0.0
        nothing = all(trial.state is not TrialState.COMPLETE for trial in done)
        if nothing or not self._plan.experiment.tests:
            return REPORT_SECONDS
        exam = base_exam(self._study, self._plan.experiment.tests)
        if exam is None:  # it could not be made, as the others then
            return REPORT_SECONDS
        adapters = 1 + self._plan.experiment.finalists  # with that of PEFT's defaults
        exams = SLOWER * exam.seconds * adapters
        return REPORT_SECONDS + exam.loading + exams + self._training(done)

    def _training(self, done: Sequence[FrozenTrial]) -> float:
        return _expected(list(_whole_trainings(done)))


def _durations(done: Sequence[FrozenTrial]) -> list[float]:
    """Seconds of the last trials; one that was resumed says too little."""
    ended = [t for t in done if t.datetime_complete is not None and t.duration is not None]
    ended.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    whole = [trial for trial in ended if "resumed_at" not in trial.user_attrs]
    recent = (whole or ended)[-RECENT_TRIALS:]
    return [t.duration.total_seconds() for t in recent if t.duration is not None]


def _whole_trainings(done: Sequence[FrozenTrial]) -> Iterator[float]:
    """Seconds of the last trials' trainings, as if each had gone to its end.

    The final test trains once more, alone: a trial of a pack has its share of the time.
    """
    for trial in done[-RECENT_TRIALS:]:
        known, whole = trial.user_attrs, trial.state is TrialState.COMPLETE
        took = known.get("seconds_setup", 0.0) + known.get("seconds_training", 0.0)
        if took and known.get("steps") and "resumed_at" not in known:
            yield took if whole else took * known.get("steps_in_all", 0) / known["steps"]


def _expected(amounts: Sequence[float], first: float = 0.0) -> float:
    """What nine of ten did not exceed; `first` where there are none."""
    return sorted(amounts)[math.ceil(QUANTILE * len(amounts)) - 1] if amounts else first
