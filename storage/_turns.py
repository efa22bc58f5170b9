"""When a worker may ask for a trial: together the workers finish as many as wanted; see `Turns`.

Reads the study; fails running trials that nobody runs any more.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import time
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from storage._open import GRACE_SECONDS
from storage._recover import fail
from storage._recover import is_here
from storage._recover import is_marked
from storage._recover import recover


__all__ = ["Turns"]


class Turns:
    """A callback of `study.optimize` that lets a worker ask only while more trials are needed.

    A worker whose next trial would be one too many waits for those that run: when one of them is
    interrupted, or its worker dies, there is another to ask for. Between the look and the ask
    others may look as well, so N workers finish at most N - 1 trials more than wanted.

    Where the death of a worker elsewhere would never be noticed, in a journal and behind a proxy,
    it does not wait for a trial that is marked as elsewhere: the worker leaves.

    Nor does it ask where that would repeat a point, as every point is evaluated or in flight: it
    waits for those in flight in the same way.

    Args:
        left: Given the trials that are finished, how many more are wanted; it may be infinity.
        finished: The trials of a study that count as finished.
        exhausted: Whether the next ask would repeat a point.
        look: Seconds between two looks at the study.
        grace: Seconds after which a trial with neither a parameter nor the mark of `mark_worker`
            counts as one whose worker died just after it had made it: it has no heartbeat yet.
    """

    def __init__(
        self,
        left: Callable[[Sequence[FrozenTrial]], float],
        finished: Callable[[optuna.Study], Sequence[FrozenTrial]],
        *,
        exhausted: Callable[[optuna.Study], bool] = lambda study: False,
        look: float = 1.0,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._left, self._finished, self._exhausted = left, finished, exhausted
        self._look, self._grace = look, grace
        self._unmarked: dict[int, float] = {}  # trial -> when it was first seen

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if not self.wait(study):
            study.stop()

    def wait(self, study: optuna.Study) -> bool:
        """Waits until a trial is needed, or none will be; whether one is."""
        while self._needed(study) > 0:
            running, exhausted = self._running(study), self._exhausted(study)
            if len(running) < self._needed(study) and not exhausted:
                return True
            if exhausted and not running:
                return False
            if not is_heartbeat_enabled(study._storage) and not any(map(_will_end, running)):
                return False
            time.sleep(self._look)
        return False

    def _needed(self, study: optuna.Study) -> float:
        return self._left(self._finished(study))

    def _running(self, study: optuna.Study) -> list[FrozenTrial]:
        """The trials that somebody runs; the others are failed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        recover(study)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if not self._died_early(study, trial)]

    def _died_early(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """By this process's clock: the one that wrote when the trial began may differ."""
        if trial.params or is_marked(trial):
            return False
        first = self._unmarked.setdefault(trial.number, time.monotonic())
        return time.monotonic() - first > self._grace and fail(study, trial)


def _will_end(trial: FrozenTrial) -> bool:
    """Whether the death of a trial's worker would be seen from here, heartbeat or not."""
    return is_here(trial) or not (is_marked(trial) or trial.params)
