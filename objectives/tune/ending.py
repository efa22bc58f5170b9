"""After the search: the final test, the best adapter, the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.job import Examiner
from objectives.report.belief import Belief
from objectives.report.report import CellBox
from objectives.report.report import FinalRow
from objectives.report.report import write_report
from objectives.result.adapters import best_trials
from objectives.result.final import final_test
from objectives.result.final import honesty
from objectives.result.final import looks
from objectives.result.names import named_base
from objectives.settings.plan import Plan
from objectives.settings.sections import portable
from objectives.training.checkpoint_files import delete_all
from objectives.tune.answer import believed
from objectives.tune.limits import Limits
from optuna_partition import inspection
import storage


__all__ = ["finish"]


def finish(plan: Plan, study: optuna.Study, run: Examiner | None, limits: Limits) -> int:
    """The exit status.

    Args:
        plan: Of the command.
        study: With its trials.
        run: Makes the final test; None where there is none to make.
        limits: Of the command's time.
    """
    if plan.settings.kept_checkpoints != "pruned" and plan.budget is None:
        delete_all(plan.folder)  # those that are left are of trials that nobody repeats now
    beliefs = believed(study)
    order = [belief.trial for belief in beliefs]
    kept = best_trials(study, 1, order)
    if not kept:
        print(_nothing_to_test(study))
        print(f"report         {_report(plan, study, [], beliefs)}")
        return 1
    rows = _tested(plan, study, run, limits, order)
    best = study.trials[order[0]] if order else study.best_trial
    _tell_best(plan, best, beliefs)
    saved = _saved(plan, study, rows, order)
    print(f"best adapter   {saved}   (how to load it: README.md there)")
    if kept[0].number != best.number:
        missing = _missing(best)
        print(f"  of trial {kept[0].number}, the best whose adapter is here: {missing}")
    print(f"report         {_report(plan, study, rows, beliefs)}")
    print(f"more trials    the same command{_more(plan)}")
    return 0


def _tested(
    plan: Plan, study: optuna.Study, run: Examiner | None, limits: Limits, order: Sequence[int]
) -> list[FinalRow]:
    tasks = plan.experiment.scoring.test
    if run is None or not tasks:
        return []
    models = "the base, PEFT's defaults (trained as a trial is) and the best adapters"
    print(f"final test     on {', '.join(tasks)}: {models}", flush=True)
    return final_test(
        plan.experiment, run, study, plan.folder, order=order, in_time=limits.in_time_for
    )


def _tell_best(plan: Plan, best: FrozenTrial, beliefs: Sequence[Belief]) -> None:
    print(f"best           {plan.experiment.value_name} {best.value:.4f} in trial {best.number}")
    for each in beliefs[:1]:
        print(f"  expected           {each.mean:.4f} ({each.low:.4f} to {each.high:.4f})")
    for name, value in best.params.items():
        print(f"  {name:<18} {value if isinstance(value, bool | str) else f'{value:.4g}'}")


def _saved(
    plan: Plan, study: optuna.Study, rows: Sequence[FinalRow], order: Sequence[int]
) -> Path | None:
    from objectives.result.best_adapter import save_best  # imports torch

    return save_best(plan.experiment, study, rows, plan.folder, order)


def _nothing_to_test(study: optuna.Study) -> str:
    """Why there is no adapter, and what to do."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return "no trial has a value; the failures are in the report"
    return (
        f"no trial's adapter is here: {_missing(study.best_trial)}; run the command where its "
        "trials ran, or search with an --output that all machines share"
    )


def _missing(trial: FrozenTrial) -> str:
    adapter = trial.user_attrs.get("adapter")
    if adapter is None:
        return f"trial {trial.number} names none"
    return f"trial {trial.number}'s was to be in {Path(adapter).absolute()}"


def _report(
    plan: Plan, study: optuna.Study, rows: Sequence[FinalRow], beliefs: Sequence[Belief]
) -> Path:
    space = plan.experiment.search_space()
    cells = [CellBox(low=c.low, high=c.high) for c in inspection.cells(study)]
    return write_report(
        study,
        plan.folder / "report",
        title=f"{plan.name}: LoRA hyperparameters",
        space=space,
        value_name=plan.experiment.value_name,
        cells=cells,
        to_unit=(lambda params: inspection.unit(space, params) or {}) if cells else None,
        final=rows,
        final_note=honesty(plan.experiment, looks(study)),
        beliefs=beliefs,
        settings={
            "base": named_base(plan.experiment.model).name,
            "data": portable(plan.experiment.data.train),
            "objective": plan.experiment.value_name,
            "sampler": plan.settings.sampler,
            "storage": storage.shown(plan.url),
        },
        closing=_next(plan, study),
        device="GPU" if storage.accelerators() else "CPU",
    )


def _more(plan: Plan) -> str:
    """What to add to the command for a longer search; a budget of time begins anew."""
    if plan.trials is not None:
        return f" with --trials {2 * plan.trials}"
    if plan.budget is not None and plan.budget.trainings is not None:
        return f" with --budget {2 * plan.budget.trainings}trainings"
    return " again"


def _next(plan: Plan, study: optuna.Study) -> str:
    """What a reader of the report can do."""
    more = f"To go on with this study, run the same command{_more(plan)}."
    load = "To load the best adapter, see README.md in best_adapter/, the folder beside report/."
    return f"{more} {load}" if best_trials(study, 1) else more
