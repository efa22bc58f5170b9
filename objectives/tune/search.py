"""Trials until enough have finished: in this process, in packs, or by workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from functools import partial

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.output import writing
from objectives.pack.search import Packs
from objectives.pack.search import search_in_packs
from objectives.result.adapters import keep_best_adapters
from objectives.settings.plan import Plan
from objectives.tune.energy import host_meter
from objectives.tune.energy import kept_in_study
from objectives.tune.energy import kept_in_trial
from objectives.tune.energy import Meter
from objectives.tune.interruption import Interruption
from objectives.tune.progress import finished
from objectives.tune.progress import Progress
from objectives.tune.study import tell_finished
import storage


__all__ = ["search", "search_packs", "search_with_workers"]


def search(plan: Plan, study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    """Runs trials until enough have finished; a KeyboardInterrupt where the user stops it."""
    wanted = plan.settings.trials
    if tell_finished(plan, study) >= wanted:
        return
    turns, interruption = storage.Turns(wanted, finished), Interruption()

    def run(trial: optuna.Trial) -> float:
        with interruption.welcome():
            storage.mark_worker(trial)
            with kept_in_trial(trial, meter):
                return objective(trial)

    def take_turn(study: optuna.Study, trial: FrozenTrial) -> None:
        with interruption.welcome():
            turns(study, trial)

    prune = keep_best_adapters(plan.experiment.scoring.best)
    with _meter(plan) as meter, interruption.installed():
        with interruption.welcome():
            needed = turns.wait(study)
        if needed:
            study.optimize(run, callbacks=[Progress(wanted, plan.unit), prune, take_turn])


def search_packs(plan: Plan, study: optuna.Study, packs: Packs) -> None:
    """The same with several trials at a time."""
    wanted = plan.settings.trials
    if tell_finished(plan, study) >= wanted:
        return
    turns, interruption = storage.Turns(wanted, finished), Interruption()

    def room() -> int:
        with interruption.welcome():
            if not turns.wait(study):
                return 0
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return max(1, wanted - len(finished(study)) - len(running))

    with _meter(plan) as meter, kept_in_study(study, meter), interruption.installed():
        search_in_packs(
            study,
            packs,
            room=room,
            exhausted=lambda: _is_exhausted(study),
            mark=storage.mark_worker,
            callbacks=[
                Progress(wanted, plan.unit),
                keep_best_adapters(plan.experiment.scoring.best),
            ],
            welcome=interruption.welcome,
        )


def _is_exhausted(study: optuna.Study) -> bool:
    """As the samplers say that know: the partition's, and Optuna's GridSampler."""
    asked = getattr(study.sampler, "is_exhausted", None)
    return asked is not None and bool(asked(study))


def search_with_workers(plan: Plan, study: optuna.Study) -> None:
    """Has trials run by workers until enough have finished; interrupted as `search` is."""
    assert plan.workers is not None
    wanted = plan.settings.trials
    if tell_finished(plan, study) >= wanted:
        return
    progress = Progress(wanted, plan.unit, seen=finished(study))
    logs = plan.folder / "workers"
    with _meter(plan) as meter, kept_in_study(study, meter), writing(logs):
        look = partial(progress.look, study)
        if storage.workers.run(plan.worker, plan.workers, logs=logs, look=look):
            raise KeyboardInterrupt


def _meter(plan: Plan) -> AbstractContextManager[Meter | None]:
    """Of this host's energy, where it is wanted and no other process has it."""
    if not plan.settings.energy:
        return nullcontext()
    return host_meter(storage.indices(storage.accelerators()), plan.settings.country)
