"""One line per finished trial on the terminal; reads the study, writes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import time

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.record import FAILURE
from objectives.report.history import is_interrupted
from objectives.report.scales import seconds
from objectives.report.scales import value


__all__ = ["Progress", "counts", "finished", "told"]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count: with a value, pruned, or failed by themselves.

    A trial that was interrupted has failed without a reason of its own; its point is asked for
    again, and it does not count.
    """
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if counts(t)]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those."""
    return trial.state.is_finished() and not is_interrupted(trial)


def told(found: float) -> str:
    """A value on the terminal: with four decimals, or as in the report where these say less."""
    return f"{found:.4f}" if 0.1 <= abs(found) < 1e9 or found == 0 else value(found)


class Progress:
    """A line per finished trial: as a callback of `study.optimize`, or of a study that others run.

    Args:
        wanted: Finished trials at the end; None where nobody knows.
        unit: What the value is, as text.
        seen: Trials finished before.
        write: Where a line goes.
        left: What is left of a budget, given the trials that are finished; None has no budget.
    """

    def __init__(
        self,
        wanted: int | None,
        unit: str,
        seen: Iterable[FrozenTrial] = (),
        write: Callable[[str], object] = print,
        left: Callable[[Sequence[FrozenTrial]], str | None] = lambda done: None,
    ) -> None:
        self._wanted, self._unit, self._write = wanted, unit, write
        self._budget_left = left
        self._seen = {trial.number for trial in seen}
        self._start = time.monotonic()
        self._done_here = 0

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        done = finished(study)
        self._line(trial, _best(study), len(done), self._budget_left(done))

    def look(self, study: optuna.Study) -> int:
        """Writes of the trials that have finished since; how many there are now.

        All is read before anything is written: a look that fails can be made again.
        """
        done = finished(study)
        new = [trial for trial in done if trial.number not in self._seen]
        best, left = (_best(study), self._budget_left(done)) if new else ("", None)
        for trial in sorted(new, key=lambda trial: (trial.datetime_complete, trial.number)):
            self._seen.add(trial.number)
            self._line(trial, best, len(self._seen), left)
        return len(self._seen)

    def _line(self, trial: FrozenTrial, best: str, done: int, left: str | None) -> None:
        self._done_here += 1
        of = "" if self._wanted is None else f" of {self._wanted}"
        self._write(
            f"trial {done:>3}{of}   number {trial.number}: {self._result(trial)}   "
            f"{best}   {left or self._left(done)}"
        )

    def _result(self, trial: FrozenTrial) -> str:
        took = f"({seconds(trial.duration.total_seconds())})" if trial.duration else ""
        if trial.state is TrialState.COMPLETE:
            assert trial.value is not None
            return f"{self._unit} {told(trial.value)} {took}"
        if trial.state is TrialState.PRUNED:
            return f"pruned {took}"
        failure = trial.user_attrs.get(FAILURE)
        return f"interrupted {took}" if failure is None else f"failed: {failure} {took}"

    def _left(self, done: int) -> str:
        """By the pace so far; a budget has its own word."""
        pace = (time.monotonic() - self._start) / self._done_here
        trials = 0 if self._wanted is None else self._wanted - done
        return f"{seconds(pace * trials)} left" if trials > 0 else "done"


def _best(study: optuna.Study) -> str:
    try:
        best = study.best_trial
    except ValueError:  # Optuna's word for: no trial has a value yet
        return "no value yet"
    assert best.value is not None
    return f"best {told(best.value)} (number {best.number})"
