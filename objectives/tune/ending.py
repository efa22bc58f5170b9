"""After the search: the final test, the best adapter, the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.adapters import best_trials
from objectives.checkpoint_files import delete_all
from objectives.final import final_test
from objectives.final import looks
from objectives.final import save_best
from objectives.job import Examiner
from objectives.model_card import honesty
from objectives.plan import Plan
from optuna_partition import inspection
import storage


__all__ = ["finish"]


def finish(plan: Plan, study: optuna.Study, run: Examiner) -> int:
    if plan.settings.checkpoints != "pruned":  # the others are of trials that nobody repeats now
        delete_all(plan.folder)
    kept = best_trials(study, 1)
    if not kept:
        print(_nothing_to_test(study))
        print(f"report         {_report(plan, study, [])}")
        return 1
    test = plan.experiment.scoring.test
    rows = final_test(plan.experiment, run, study, plan.folder) if test else []
    best = study.best_trial
    print(f"best           {best.value:.4f} in trial {best.number}")
    for name, value in best.params.items():
        print(f"  {name:<18} {value if isinstance(value, bool | str) else f'{value:.4g}'}")
    print(f"best adapter   {save_best(plan.experiment, study, rows, plan.folder)}")
    if kept[0].number != best.number:
        print(f"  of trial {kept[0].number}, the best whose adapter is here: {_missing(best)}")
    print(f"report         {_report(plan, study, rows)}")
    return 0


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


def _report(plan: Plan, study: optuna.Study, rows: Sequence[Any]) -> Path:
    from objectives.report import CellBox
    from objectives.report import write_report

    space = plan.experiment.search_space()
    scoring = plan.experiment.scoring
    cells = [CellBox(low=c.low, high=c.high) for c in inspection.cells(study)]
    return write_report(
        study,
        plan.folder / "report",
        title=f"{plan.name}: LoRA hyperparameters",
        space=space,
        cells=cells,
        to_unit=(lambda params: inspection.unit(space, params) or {}) if cells else None,
        final=rows,
        final_note=honesty(plan.experiment, looks(study)),
        settings={
            "model": plan.experiment.model.name,
            "data": plan.experiment.data.train,
            "objective": scoring.objective,
            "sampler": plan.settings.sampler,
            "storage": storage.shown(plan.url),
        },
    )
