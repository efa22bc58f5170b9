"""The search on a trainer of the user's own: from its plan to what is left at the end."""

from __future__ import annotations

from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.command.failures import alike
from objectives.command.objective import CommandObjective
from objectives.command.outputs import keep_outputs
from objectives.command.outputs import output_of
from objectives.command.outputs import save_best
from objectives.command.process import check_program
from objectives.errors import UserError
from objectives.output import writing
from objectives.settings.plan import OwnPlan
from objectives.tune.answer import believed
from objectives.tune.cluster.attached import end_all
from objectives.tune.cluster.attached import search_on_engine
from objectives.tune.cluster.engines import engine_of
from objectives.tune.ending import more
from objectives.tune.ending import no_value
from objectives.tune.ending import report
from objectives.tune.ending import tell_best
from objectives.tune.interruption import end_in_order
from objectives.tune.limits import Limits
from objectives.tune.progress import finished
from objectives.tune.progress import told as shown
from objectives.tune.search import is_exhausted
from objectives.tune.search import search
from objectives.tune.search import search_with_workers
from objectives.tune.study import begin_anew_if_all_failed
from objectives.tune.study import check_plan
from objectives.tune.study import has_work
from objectives.tune.study import open_study
from objectives.tune.study import tell_end
from objectives.tune.study import tell_over
import storage


__all__ = ["run_own"]

BASELINE = "baseline"
"""User attribute of the trial with the user's own parameters."""


def run_own(plan: OwnPlan) -> int:
    """The exit status.

    Raises:
        UserError: Something is to be mended first, or all trials fail alike.
    """
    check_program(plan.experiment.command.run, plan.home)
    engine = None if plan.engine is None else engine_of(plan)
    if engine is not None and plan.workers == 0:
        return end_all(engine)
    check_plan(plan)
    begin_anew_if_all_failed(plan)
    if not has_work(plan):
        tell_over(plan)
        return 0
    study = open_study(plan, "", plan.experiment.direction, partial(_ask_for_baseline, plan))
    if engine is not None:
        return search_on_engine(plan, study, engine)
    end_in_order()
    limits = Limits(plan, study)
    if plan.workers is not None:
        search_with_workers(plan, study, limits)
    else:
        devices = max(1, len(storage.accelerators()))
        objective = CommandObjective(plan.experiment, plan.home, plan.folder, devices=devices)
        search(plan, study, objective, limits, keep_outputs(plan.experiment.command.keep))
    tell_end(limits, exhausted=is_exhausted(study))
    if plan.search_only:
        return 0
    _check_some_differ(study)
    with writing(plan.folder):
        return _finish(plan, study)


def _ask_for_baseline(plan: OwnPlan, study: optuna.Study) -> None:
    """Again where it has failed or is another; the search itself knows of no baseline."""
    params = plan.experiment.baseline()
    if params is None or plan.search_only or plan.is_closing_job:
        return
    trials = [trial for trial in study.get_trials(deepcopy=False) if _asked(trial) == params]
    if all(trial.state is TrialState.FAIL for trial in trials):
        study.enqueue_trial(params, user_attrs={BASELINE: True})


def _asked(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters of a trial, also where it still waits or has only just begun."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _check_some_differ(study: optuna.Study) -> None:
    failure = alike(finished(study))
    if failure is not None:
        raise UserError(
            f"--study {study.study_name}: all {len(finished(study))} trials have failed in the "
            f"same way: {failure}; correct `[command]` or what it needs, and the same command "
            "begins the study anew"
        )


def _finish(plan: OwnPlan, study: optuna.Study) -> int:
    beliefs = believed(study)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    told = _settings(plan, complete)
    if not complete:
        print(no_value(plan, study))
        print(f"report         {report(plan, study, beliefs, told, _closing(plan, study))}")
        return 1
    best = study.trials[beliefs[0].trial] if beliefs else study.best_trial
    tell_best(plan, best, beliefs)
    if BASELINE in told:
        print(f"baseline       {told[BASELINE]}")
    script = save_best(plan.experiment, best, study=plan.name, home=plan.home, folder=plan.folder)
    print(f"best command   {script}")
    output = output_of(best)
    if output is not None:
        print(f"best output    {output}")
    print(f"report         {report(plan, study, beliefs, told, _closing(plan, study))}")
    print(f"more trials    the same command{more(plan, study)}")
    return 0


def _settings(plan: OwnPlan, complete: list[FrozenTrial]) -> dict[str, str]:
    """What a reader of the report should know."""
    command = plan.experiment.command
    config = {} if command.config is None else {"config": command.config.path.name}
    told = {"command": " ".join(command.run), **config}
    for trial in complete:
        if trial.params == plan.experiment.baseline():
            assert trial.value is not None
            told.setdefault(BASELINE, f"{shown(trial.value)} in trial {trial.number}")
    return told


def _closing(plan: OwnPlan, study: optuna.Study) -> str:
    """What a reader of the report can do."""
    go_on = f"To go on with this study, run the same command{more(plan, study)}."
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return go_on
    again = "To run the best trial again, start command.sh in best/, the folder beside report/."
    return f"{go_on} {again}"
