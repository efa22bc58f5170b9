"""Asks for as many trials as a pack holds, has them trained and tells each; imports no torch.

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
from itertools import islice
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
from objectives.job import Job
from objectives.job import OutOfMemory
from objectives.job import Report
from objectives.job import RunPack
from objectives.job import Training
from objectives.objective import Begun
from objectives.objective import LoraObjective


__all__ = ["Ask", "Packs", "search_in_packs"]

_logger = logging.getLogger(__name__)

Callback = Callable[[optuna.Study, FrozenTrial], None]
Welcome = Callable[[], AbstractContextManager[None]]
Ask: TypeAlias = Callable[[], Begun | None]
Valued: TypeAlias = tuple[Begun, float | None]
"""A trial and its value: nan if it failed, None if it was pruned."""


class Packs:
    """Trials in, values out, as soon as each is there.

    A place that becomes free while others train, as its trial was pruned or is done, goes to the
    next trial at the same validation. Where all end together, the next pack is a new one.

    A pack that runs out of memory is halved: those that were still in training begin again, or go
    on from their checkpoints, in packs of half the size, which is the size of all packs to come. A
    trial alone is a `LoraObjective`'s, which halves the micro-batch.

    Every trial keeps the user attribute `pack`: how many were trained together when it began. Its
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
        self._waiting: list[Begun] = []  # those that did not fit

    def __call__(self, ask: Ask) -> Iterator[Valued]:
        """One pack, and what it could not hold.

        Args:
            ask: Begins a trial; None where there is to be no other now.
        """
        while begun := self._next(ask, self.size):
            if len(begun) == 1:
                _keep_size(begun[0], 1)
                yield begun[0], _value(lambda: self._alone.run(begun[0]))
            else:
                yield from self._together(begun, ask)
            if not self._waiting:
                return

    def _next(self, ask: Ask, most: int) -> list[Begun]:
        """At most so many, those first that wait."""
        waiting, self._waiting = self._waiting[:most], self._waiting[most:]
        return [*waiting, *islice(iter(ask, None), most - len(waiting))]

    def _together(self, begun: Sequence[Begun], ask: Ask) -> Iterator[Valued]:
        members: dict[int | None, Begun] = {}

        def join(others: int) -> list[tuple[Job, Report]]:
            new = self._next(ask, self.size - others) if others else begun
            for each in new:
                _keep_size(each, others + len(new))
                members[each.job.trial] = each
            return [(each.job, each.reports) for each in new]

        too_many = []
        for job, ended in self._run(join):
            each = members.pop(job.trial)
            if isinstance(ended, OutOfMemory):
                too_many.append((each, ended))
            else:
                yield each, self._finish(each, ended)
        if too_many:
            _logger.warning("%s; tried with packs of half the size", too_many[0][1].message)
            self.size = max(1, len(too_many) // 2)
            self._waiting = [*(each for each, _ in too_many), *self._waiting]

    def _finish(self, begun: Begun, ended: Ended) -> float | None:
        if isinstance(ended, Training):
            trained = replace(begun, job=replace(begun.job, trained=ended))
            return _value(lambda: self._alone.run(trained))
        return _value(lambda: self._alone.settle(begun, ended))


def _keep_size(begun: Begun, pack: int) -> None:
    with suppress(UpdateFinishedTrialError):  # another worker has failed it
        begun.trial.set_user_attr("pack", pack)


def _value(run: Callable[[], float]) -> float | None:
    """None also where another worker has failed the trial, which has its end by that."""
    try:
        return run()
    except (optuna.TrialPruned, UpdateFinishedTrialError):
        return None


def search_in_packs(
    study: optuna.Study,
    packs: Packs,
    *,
    wait: Callable[[], bool],
    room: Callable[[], float],
    exhausted: Callable[[], bool],
    mark: Callable[[optuna.Trial], None],
    mark_stopped: Callable[[optuna.Trial], None],
    callbacks: Sequence[Callback],
    welcome: Welcome,
    unwelcome: Welcome,
) -> None:
    """Pack after pack, until no trial is needed.

    Args:
        study: To ask and to tell.
        packs: Gives the values.
        wait: Whether a trial is needed, which may take a while to be known; nothing runs here.
        room: How many trials may be asked for now, beside those that run.
        exhausted: Whether the next ask would repeat a trial: no other is asked for.
        mark: Called with each trial just asked for.
        mark_stopped: Called with each trial that an interruption leaves.
        callbacks: Called with each trial just told.
        welcome: In this context an interruption may come; in a tell it would leave trials that
            nobody runs.
        unwelcome: In this one it may not, also inside of the other: between ask and mark.
    """
    while wait() and not exhausted():
        with _Running(study, mark_stopped) as running:

            def ask() -> Begun | None:
                with unwelcome():
                    if room() < 1 or exhausted():
                        return None
                    trial = running.ask()
                    mark(trial)
                    return packs.begin(trial)  # before the next ask: the sampler sees it

            values = packs(ask)
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

    def __init__(self, study: optuna.Study, mark_stopped: Callable[[optuna.Trial], None]) -> None:
        self._study, self._mark_stopped = study, mark_stopped
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
                if isinstance(error, KeyboardInterrupt):
                    self._mark_stopped(trial)
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
            return self._study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        with warnings.catch_warnings():  # that it failed, which its own line says
            warnings.filterwarnings("ignore", message="The value nan is not acceptable")
            return self._study.tell(trial, value, skip_if_finished=True)
