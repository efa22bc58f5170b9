"""Asks for several trials at once, has them trained as a pack and tells each; imports no torch.

`study.optimize` runs one trial at a time. What it does for a trial is done here for each of a
pack: the heartbeat from the ask to the tell, the callbacks after it, and FAIL for all that have no
value yet when something stops the search.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import suppress
from dataclasses import replace
import logging
from types import TracebackType
from typing import TypeAlias
import warnings

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import BaseHeartbeatThread
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.job import Ended
from objectives.job import OutOfMemory
from objectives.job import RunPack
from objectives.job import Training
from objectives.objective import Begun
from objectives.objective import LoraObjective


__all__ = ["Packs", "search_in_packs"]

_logger = logging.getLogger(__name__)

Callback = Callable[[optuna.Study, FrozenTrial], None]
Welcome = Callable[[], AbstractContextManager[None]]
Valued: TypeAlias = tuple[Begun, float | None]
"""A trial and its value: nan if it failed, None if it was pruned."""


class Packs:
    """Trials in, values out, as soon as each is there.

    A pack that runs out of memory is halved: those that were still in training begin again in
    packs of half the size, which is the size of all packs to come. A trial alone is a
    `LoraObjective`'s, which halves the micro-batch.

    Every trial keeps the user attribute `pack`: how many were trained together. Its
    `seconds_setup` and `seconds_training` are its share (see `Learner`).
    """

    def __init__(self, alone: LoraObjective, run: RunPack, size: int) -> None:
        """Args:
        alone: Begins, scores and tells each trial.
        run: Trains a pack, with the same experiment.
        size: Trials to train together.
        """
        self.begin = alone.begin
        self.size = size
        self._alone, self._run = alone, run

    def __call__(self, begun: Sequence[Begun]) -> Iterator[Valued]:
        for each in begun:
            each.trial.set_user_attr("pack", len(begun))
        if len(begun) == 1:
            yield begun[0], _value(lambda: self._alone.run(begun[0]))
            return
        outcomes = self._run([each.job for each in begun], [each.reports for each in begun])
        again = []
        for each, outcome in zip(begun, outcomes, strict=True):
            if isinstance(outcome, OutOfMemory):
                again.append((each, outcome))
            else:
                yield each, self._finish(each, outcome)
        if again:
            _logger.warning("%s; tried with packs of half the size", again[0][1].message)
            self.size = max(1, len(begun) // 2)
            for i in range(0, len(again), self.size):
                yield from self([each for each, _ in again[i : i + self.size]])

    def _finish(self, begun: Begun, outcome: Ended) -> float | None:
        if isinstance(outcome, Training):
            trained = replace(begun, job=replace(begun.job, trained=outcome))
            return _value(lambda: self._alone.run(trained))
        return _value(lambda: self._alone.settle(begun, outcome))


def _value(run: Callable[[], float]) -> float | None:
    try:
        return run()
    except optuna.TrialPruned:
        return None


def search_in_packs(
    study: optuna.Study,
    packs: Packs,
    *,
    room: Callable[[], float],
    exhausted: Callable[[], bool],
    mark: Callable[[optuna.Trial], None],
    callbacks: Sequence[Callback],
    welcome: Welcome,
) -> None:
    """Pack after pack, until there is no room for a trial.

    Args:
        study: To ask and to tell.
        packs: Gives the values.
        room: How many trials may be asked for now; may wait.
        exhausted: Whether the next ask would repeat a trial: the search ends.
        mark: Called with each trial just asked for.
        callbacks: Called with each trial just told.
        welcome: In this context an interruption may come; between ask and mark, and in a tell, it
            would leave trials that nobody runs.
    """
    while (free := room()) > 0 and not exhausted():
        with _Running(study) as running:
            begun: list[Begun] = []
            while len(begun) < min(free, packs.size) and not (begun and exhausted()):
                trial = running.ask()
                mark(trial)
                begun.append(packs.begin(trial))  # before the next ask: the sampler sees it
            values = packs(begun)
            while (valued := _next(values, welcome)) is not None:
                frozen = running.tell(valued[0].trial, valued[1])
                for callback in callbacks:
                    callback(study, frozen)


def _next(values: Iterator[Valued], welcome: Welcome) -> Valued | None:
    with welcome():
        return next(values, None)


class _Running:
    """Trials between ask and tell, with their heartbeats; those left at the end have failed.

    They are not told: those that are left were interrupted, and may be another worker's by now.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._hearts: dict[int, tuple[optuna.Trial, BaseHeartbeatThread]] = {}

    def __enter__(self) -> _Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, heart in self._hearts.values():
            heart.join()
        for trial, _ in self._hearts.values():
            with suppress(UpdateFinishedTrialError):  # another worker has failed it
                self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def ask(self) -> optuna.Trial:
        with warnings.catch_warnings():  # that nobody keeps the heartbeat; we do
            warnings.filterwarnings("ignore", message="Heartbeat of storage")
            trial = self._study.ask()
        heart = get_heartbeat_thread(trial._trial_id, self._study._storage)
        heart.start()
        self._hearts[trial.number] = trial, heart
        return trial

    def tell(self, trial: optuna.Trial, value: float | None) -> FrozenTrial:
        _, heart = self._hearts.pop(trial.number)
        heart.join()
        if value is None:
            return self._study.tell(trial, state=TrialState.PRUNED)
        with warnings.catch_warnings():  # that it failed, which its own line says
            warnings.filterwarnings("ignore", message="The value nan is not acceptable")
            return self._study.tell(trial, value)
