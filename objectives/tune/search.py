"""Trials until the limits say so: in this process, in packs, or by workers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from functools import partial
import time

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.output import writing
from objectives.pack.search import Packs
from objectives.pack.search import search_in_packs
from objectives.settings.plan import OwnPlan
from objectives.settings.plan import Plan
from objectives.tune.energy import host_meter
from objectives.tune.energy import kept_in_study
from objectives.tune.energy import kept_in_trial
from objectives.tune.energy import Meter
from objectives.tune.interruption import Interruption
from objectives.tune.interruption import TimeIsUp
from objectives.tune.limits import Limits
from objectives.tune.machines.watch import Watch
from objectives.tune.progress import finished
from objectives.tune.progress import Progress
from objectives.tune.study import tell_finished
import storage


__all__ = ["Callback", "is_exhausted", "search", "search_packs", "search_with_workers", "watched"]

Callback = Callable[[optuna.Study, FrozenTrial], None]
PATIENCE_SECONDS = 5.0  # with a worker whose time is up


def search(
    plan: Plan,
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    limits: Limits,
    keep: Callback,
) -> None:
    """Runs trials until the limits say so; a KeyboardInterrupt where the user stops it.

    Args:
        plan: Of the command.
        study: Gets the trials.
        objective: Runs one.
        limits: Of the search.
        keep: Deletes what earlier trials have left and nobody needs, after each trial.
    """
    tell_finished(plan, study)
    if limits.wanted(finished(study)) <= 0:
        return
    turns, interruption = _turns(limits), Interruption(limits.end)
    devices = _devices(plan)
    number = -1

    def run(trial: optuna.Trial) -> float:
        nonlocal number
        number = trial.number
        storage.mark_worker(trial, devices)  # by that mark an interrupted trial is put back
        with interruption.welcome(), kept_in_trial(trial, meter):
            return objective(trial)

    def take_turn(study: optuna.Study, trial: FrozenTrial) -> None:
        with interruption.welcome():
            turns(study, trial)

    def needed() -> bool:
        with interruption.welcome():
            return turns.wait(study)

    callbacks: list[Callback] = [_progress(plan, limits), keep, *_watched(study)]
    with _meter(plan) as meter, interruption.installed(), suppress(TimeIsUp), _put_back(study):
        while needed():
            try:
                study.optimize(run, callbacks=[*callbacks, take_turn])
                break
            except Exception as error:
                if not storage.was_failed(error):
                    raise
            print(f"trial {number} was taken for dead by another worker; the search goes on")


def search_packs(
    plan: Plan, study: optuna.Study, packs: Packs, limits: Limits, keep: Callback
) -> None:
    """The same with several trials at a time."""
    tell_finished(plan, study)
    if limits.wanted(finished(study)) <= 0:
        return
    turns, interruption = _turns(limits), Interruption(limits.end)

    def wait() -> bool:
        with interruption.welcome():
            return turns.wait(study)

    def room() -> float:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return limits.wanted(finished(study)) - len(running)

    callbacks: list[Callback] = [_progress(plan, limits), keep, *_watched(study)]
    with _meter(plan) as meter, kept_in_study(study, meter), interruption.installed():
        with suppress(TimeIsUp), _put_back(study):
            search_in_packs(
                study,
                packs,
                wait=wait,
                room=room,
                exhausted=lambda: is_exhausted(study),
                mark=partial(storage.mark_worker, devices=_devices(plan)),
                mark_stopped=storage.mark_stopped,
                callbacks=callbacks,
                welcome=interruption.welcome,
                unwelcome=interruption.unwelcome,
            )


def _turns(limits: Limits) -> storage.Turns:
    return storage.Turns(limits.wanted, finished, exhausted=is_exhausted)


@contextmanager
def _put_back(study: optuna.Study) -> Iterator[None]:
    """What an interruption cuts off waits for whoever goes on with the study."""
    try:
        yield
    except KeyboardInterrupt:
        storage.put_back(study, finished)
        raise


def _devices(plan: Plan) -> list[str]:
    """The GPUs that a trial is trained on, where this machine's are meant."""
    if plan.settings.launcher is not None:
        return []
    found = storage.accelerators()
    return storage.indices(found if isinstance(plan, OwnPlan) else found[: plan.ranks or 1])


def _watched(study: optuna.Study) -> list[Callback]:
    """Where nobody has started this worker, who would watch it."""
    return [] if storage.worker_name() else [Watch(study)]


def _progress(plan: Plan, limits: Limits) -> Progress:
    return Progress(plan.trials, plan.experiment.unit, left=limits.left)


def is_exhausted(study: optuna.Study) -> bool:
    """Whether the next ask would repeat a point, as the partition's samplers say."""
    asked = getattr(study.sampler, "is_exhausted", None)
    return asked is not None and bool(asked(study))


def search_with_workers(plan: Plan, study: optuna.Study, limits: Limits) -> None:
    """Has trials run by workers until the limits say so; interrupted as `search` is."""
    assert plan.workers is not None
    tell_finished(plan, study)
    if limits.wanted(finished(study)) <= 0:
        return
    watch, logs = Watch(study), plan.folder / "workers"
    look, late = watched(plan, study, limits, watch), partial(_is_late, plan, limits)
    until = () if plan.until is None else ("--until", str(plan.until))
    argv = (*plan.worker_argv, *until)
    with _meter(plan) as meter, kept_in_study(study, meter), writing(logs), watch:
        stopped = storage.workers.run(
            argv, plan.workers, logs=logs, look=look, say=watch.say, late=late
        )
    if stopped:
        raise KeyboardInterrupt


def watched(plan: Plan, study: optuna.Study, limits: Limits, watch: Watch) -> Callable[[], int]:
    """Shows trials and workers, whenever it is called; how many trials are finished."""
    unit, done = plan.experiment.unit, finished(study)
    progress = Progress(plan.trials, unit, seen=done, write=watch.say, left=limits.left)

    def look() -> int:
        count = progress.look(study)
        watch.look()
        return count

    return look


def _is_late(plan: Plan, limits: Limits) -> bool:
    """Workers end by themselves in time, unless they hang or load."""
    if plan.until is None:
        return False
    try:
        end = limits.end()
    except Exception as error:
        if not storage.broke_off(error):
            raise
        end = plan.until  # while nobody knows what trials take
    return time.time() > end + PATIENCE_SECONDS


def _meter(plan: Plan) -> AbstractContextManager[Meter | None]:
    """Of this host's energy, where it is wanted and no other process has it."""
    if not plan.settings.energy:
        return nullcontext()
    return host_meter(storage.indices(storage.accelerators()), plan.settings.country)
