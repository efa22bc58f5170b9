"""After the search: the final test, the best adapter, the report."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from pathlib import Path
import shlex

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.job import Trainer
from objectives.report.given import Belief
from objectives.report.given import CellBox
from objectives.report.given import FinalRow
from objectives.report.given import SampleAnswer
from objectives.report.given import Told
from objectives.report.history import duration
from objectives.report.history import is_interrupted
from objectives.report.scales import number
from objectives.report.scales import seconds
from objectives.report.spent import shares
from objectives.report.spent import spent
from objectives.result.adapters import best_trials
from objectives.result.answers import sample_answers
from objectives.result.final import final_test
from objectives.result.final import honesty
from objectives.result.final import looks
from objectives.result.names import named_base
from objectives.settings.plan import LoraPlan
from objectives.settings.plan import OwnPlan
from objectives.settings.plan import Plan
from objectives.settings.sections.sources import in_words
from objectives.training.checkpoint_files import delete_all
from objectives.tune.answer import believed
from objectives.tune.limits import Limits
from objectives.tune.progress import finished
from objectives.tune.progress import told
from objectives.tune.search import is_exhausted
from optuna_partition import inspection
import storage


__all__ = ["finish", "more", "no_value", "report", "tell_best"]


def finish(plan: LoraPlan, study: optuna.Study, trainer: Trainer | None, limits: Limits) -> int:
    """The exit status.

    Args:
        plan: Of the command.
        study: With its trials.
        trainer: Makes the final test, and sample answers; None where there are none to make.
        limits: Of the command's time.
    """
    beliefs = believed(study)
    order = [belief.trial for belief in beliefs]
    kept = best_trials(study, 1, order)
    rows = _tested(plan, study, trainer, limits, order) if kept else []
    to_come = study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
    if plan.settings.kept_checkpoints != "pruned" and plan.budget is None and not to_come:
        delete_all(plan.folder)  # those that are left are of trials that nobody repeats now
    if not kept:
        print(_nothing_to_test(plan, study))
        print(f"report         {_report(plan, study, [], beliefs)}")
        return 1
    best = study.trials[order[0]] if order else study.best_trial
    tell_best(plan, best, beliefs)
    saved = _saved(plan, study, rows, order)
    print(f"best adapter   {saved}   (how to load it: README.md there)")
    if kept[0].number != best.number:
        missing = _missing(best)
        print(f"  of trial {kept[0].number}, the best whose adapter is here: {missing}")
    ask = f"python -m objectives.adapter chat {shlex.quote(str(plan.folder))}"
    print(f"ask it         {ask}   (or merge, push, serve)")
    for part, cost in _costs(plan, study).items():
        print(f"{part:<14} {cost}")
    answers = _answers(plan, trainer, kept[0])
    print(f"report         {_report(plan, study, rows, beliefs, answers)}")
    print(f"more trials    the same command{more(plan, study)}")
    return 0


def _answers(plan: LoraPlan, trainer: Trainer | None, best: FrozenTrial) -> list[SampleAnswer]:
    count = plan.experiment.scoring.answers
    if trainer is None or count == 0:
        return []
    return sample_answers(trainer, best.user_attrs["adapter"], count)


def _tested(
    plan: LoraPlan,
    study: optuna.Study,
    trainer: Trainer | None,
    limits: Limits,
    order: Sequence[int],
) -> list[FinalRow]:
    tasks = plan.experiment.scoring.test
    if trainer is None or not tasks:
        return []
    models = "the base, PEFT's defaults (trained as a trial is) and the best adapters"
    print(f"final test     on {', '.join(tasks)}: {models}", flush=True)
    return final_test(
        plan.experiment, trainer, study, plan.folder, order=order, in_time=limits.in_time_for
    )


def tell_best(plan: Plan, best: FrozenTrial, beliefs: Sequence[Belief]) -> None:
    """The best trial, what is expected of it, and its parameters."""
    assert best.value is not None
    name = plan.experiment.value_name
    print(f"best           {name} {told(best.value)} in trial {best.number}")
    for each in beliefs[:1]:
        print(f"  expected           {told(each.mean)} ({told(each.low)} to {told(each.high)})")
    width = max(18, *map(len, best.params))
    for name, chosen in best.params.items():
        print(f"  {name:<{width}} {number(chosen)}")


def _saved(
    plan: LoraPlan, study: optuna.Study, rows: Sequence[FinalRow], order: Sequence[int]
) -> Path | None:
    from objectives.result.best_adapter import save_best  # imports torch

    return save_best(plan.experiment, study, rows, plan.folder, order)


def no_value(plan: Plan, study: optuna.Study) -> str:
    """Why no trial has one, and what to do."""
    if finished(study):
        again = "; mend what they name, and run the same command again"
        anew = again if isinstance(plan, OwnPlan) else ""
        return f"no trial has a value; the failures are in the report{anew}"
    budget = plan.budget
    ended = "the search" if budget is None else f"the budget of {budget.text}"
    lost = [trial for trial in study.get_trials(deepcopy=False) if is_interrupted(trial)]
    longest = max(lost, key=duration, default=None)
    first = (
        "the first trial began"
        if longest is None
        else f"trial {longest.number} did, which had run for {seconds(duration(longest))}"
    )
    way_out = "" if budget is None else " with a longer --budget"
    return f"no trial has a value: {ended} ended before {first}; the same command{way_out} goes on"


def _nothing_to_test(plan: Plan, study: optuna.Study) -> str:
    """Why there is no adapter, and what to do."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return no_value(plan, study)
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
    plan: LoraPlan,
    study: optuna.Study,
    rows: Sequence[FinalRow],
    beliefs: Sequence[Belief],
    answers: Sequence[SampleAnswer] = (),
) -> Path:
    settings = {
        "base": named_base(plan.experiment.model).name,
        "data": in_words(plan.experiment.data.train),
        **_costs(plan, study),
    }
    note = honesty(plan.experiment, looks(study, plan.experiment.scoring.test))
    return report(plan, study, beliefs, settings, _next(plan, study), rows, note, answers)


def _costs(plan: LoraPlan, study: optuna.Study) -> dict[str, str]:
    """What a search took and the smaller one before it, where there was one."""
    if plan.proxy is None:
        return {}
    proxy = optuna.load_study(study_name=plan.proxy.name, storage=storage.open(plan.proxy.url))
    return {"proxy": f"{plan.proxy.name}: {_cost(proxy)}", "search": _cost(study)}


def _cost(study: optuna.Study) -> str:
    trials = study.get_trials(deepcopy=False)
    minutes = spent(trials).seconds / 60
    return f"{len(finished(study))} trials, {minutes:.1f} minutes"


def report(
    plan: Plan,
    study: optuna.Study,
    beliefs: Sequence[Belief],
    settings: Mapping[str, str],
    closing: str,
    final: Sequence[FinalRow] = (),
    final_note: str = "",
    answers: Sequence[SampleAnswer] = (),
) -> Path:
    """Writes the report; its page.

    Args:
        plan: Of the command.
        study: With its trials.
        beliefs: What a model says of them.
        settings: What a reader should know about what was trained.
        closing: What a reader can do next.
        final: Rows of the final test.
        final_note: How far these may be believed.
        answers: Of base and best to the same prompts.
    """
    from objectives.report.report import write_report  # Matplotlib and SciPy: not for each worker

    space = plan.experiment.search_space()
    cells = [CellBox(low=c.low, high=c.high) for c in inspection.cells(study)]
    kind = "LoRA hyperparameters" if isinstance(plan, LoraPlan) else "hyperparameters"
    return write_report(
        study,
        plan.folder / "report",
        title=f"{plan.name}: {kind}",
        space=space,
        value_name=plan.experiment.value_name,
        cells=cells,
        to_unit=(lambda params: inspection.unit(space, params) or {}) if cells else None,
        told=Told(
            final=final,
            final_note=final_note,
            beliefs=beliefs,
            answers=answers,
            settings={
                **settings,
                "sampler": plan.settings.sampler,
                "storage": storage.shown(plan.url),
            },
            closing=closing,
            device="GPU" if storage.accelerators() else "CPU",
        ),
    )


def more(plan: Plan, study: optuna.Study) -> str:
    """What to add to the command for a longer search; a budget of time begins anew."""
    if is_exhausted(study):
        return " with wider ranges in [search]: every point of these is evaluated"
    done, trainings = finished(study), None if plan.budget is None else plan.budget.trainings
    if plan.trials is not None and (plan.budget is None or len(done) >= plan.trials):
        return f" with --trials {2 * max(plan.trials, len(done))}"
    if trainings is not None:
        return f" with --budget {2 * max(trainings, math.ceil(math.fsum(shares(done))))}trainings"
    return " again"


def _next(plan: LoraPlan, study: optuna.Study) -> str:
    """What a reader of the report can do."""
    again = f"To go on with this study, run the same command{more(plan, study)}."
    load = "To load the best adapter, see README.md in best_adapter/, the folder beside report/."
    return f"{again} {load}" if best_trials(study, 1) else again
