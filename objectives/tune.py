"""The command line: the one place where sampler, objective and storage meet.

    python -m objectives.tune examples/standin.toml                        # minutes, no GPU
    python -m objectives.tune examples/llama_1b_alpaca.toml --storage sqlite:///llama.db \\
        --study llama --sampler soo --trials 50 --workers 8

Run it again to continue a study: trials of earlier runs count, an interrupted one is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
import os
from pathlib import Path
import sys
from typing import Any
import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.adapters import best_trials
from objectives.adapters import keep_best_adapters
from objectives.comparable import check_comparable
from objectives.comparable import keep_experiment
from objectives.config import StudySettings
from objectives.energy import check_can_measure
from objectives.energy import host_meter
from objectives.energy import kept_in_study
from objectives.energy import kept_in_trial
from objectives.energy import Meter
from objectives.errors import UserError
from objectives.gang import Gang
from objectives.gang import GangFailed
from objectives.interruption import Interruption
from objectives.objective import LoraObjective
from objectives.pack_search import Packs
from objectives.pack_search import search_in_packs
from objectives.plan import Plan
from objectives.plan import read_plan
from objectives.progress import finished
from objectives.progress import Progress
from objectives.tracking import check_tracker
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import inspection
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import ResumeError
from optuna_partition import SOOSampler
import storage


__all__ = ["main"]

Space = dict[str, BaseDistribution]

SAMPLERS: Mapping[str, Callable[[Space, StudySettings], BaseSampler]] = {
    "bamsoo": lambda space, study: BaMSOOSampler(search_space=space, seed=study.seed),
    "soo": lambda space, study: SOOSampler(search_space=space, seed=study.seed),
    "direct": lambda space, study: DIRECTSampler(search_space=space, seed=study.seed),
    "nomad": lambda space, study: NOMADSampler(search_space=space, seed=study.seed),
    "lhs": lambda space, study: LatinHypercubeSampler(n_trials=study.trials, seed=study.seed),
    "bo": lambda space, study: _bayesian(study.seed),
    "tpe": lambda space, study: optuna.samplers.TPESampler(seed=study.seed),
    "gp": lambda space, study: optuna.samplers.GPSampler(seed=study.seed),
    "random": lambda space, study: optuna.samplers.RandomSampler(seed=study.seed),
}
# Of the number of reports in a trial: Optuna would learn it from the first trial that finishes,
# and until then its Hyperband prunes nothing.
PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda parts: optuna.pruners.NopPruner(),
    "median": lambda parts: optuna.pruners.MedianPruner(),
    "hyperband": lambda parts: optuna.pruners.HyperbandPruner(max_resource=parts),
    "asha": lambda parts: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=3
    ),
}
INTERRUPTED = 130  # as a shell counts an end by SIGINT
MISTAKE = storage.workers.MISTAKE


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit status."""
    storage.workers.follow()
    _quieten()
    try:
        return _run(read_plan(arguments, SAMPLERS, PRUNERS))
    except (UserError, storage.StorageError, ResumeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except storage.workers.WorkersFailed as error:
        print(error if error.mistake else f"error: {error}", file=sys.stderr)
        return MISTAKE if error.mistake else 1
    except GangFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _stopped()


def _stopped() -> int:
    print("stopped; the same command continues this study", flush=True)
    return INTERRUPTED


def _run(plan: Plan) -> int:
    existing = _existing(plan)
    if existing is not None:
        check_comparable(existing, plan.experiment, storage.shown(plan.url))
        if plan.search_only and len(finished(existing)) >= plan.settings.trials:
            _told(plan, existing)
            return 0  # a worker that comes late loads nothing
    if plan.workers is not None and storage.private(plan.url):
        raise UserError(
            f"--workers {plan.workers}: {plan.url} is in the memory of one process; "
            "take a file, for example --storage sqlite:///study.db"
        )
    if plan.settings.energy:
        check_can_measure()
    check_tracker(plan.settings.tracker)
    print(f"loading {plan.experiment.model.name} and {plan.experiment.data.train} ...", flush=True)
    return _run_here(plan) if plan.workers is None else _run_workers(plan)


# The heavy imports wait until the plan is sound.


def _run_here(plan: Plan) -> int:
    return _run_alone(plan) if plan.ranks is None else _run_with_gang(plan, plan.ranks)


def _run_alone(plan: Plan) -> int:
    """One process that asks, trains and tests."""
    from objectives.bench import load_bench
    from objectives.runner import load_scorer
    from objectives.runner import Runner

    bench = load_bench(plan.experiment, cache=plan.cache)
    scorer = load_scorer(plan.experiment, bench.tokenizer, test=True)
    run = Runner(plan.experiment, bench, scorer)
    study = _open(plan)
    objective = LoraObjective(plan.experiment, run, plan.folder)
    packs = _packs(plan, bench, objective)
    together = packs is not None and _search_in_packs(plan, study, packs)
    if together or (packs is None and _search(plan, study, objective)):
        return _stopped()
    return 0 if plan.search_only else _finish(plan, study, bench, scorer)


def _packs(plan: Plan, bench: Any, objective: LoraObjective) -> Packs | None:
    """What trains several trials together; None where they are trained one at a time."""
    if plan.settings.pack is None:
        return None
    from objectives.pack_runner import pack_size
    from objectives.pack_runner import PackRunner

    wanted = plan.settings.pack
    size = pack_size(plan.experiment, bench) if wanted == "auto" else int(wanted)
    return Packs(objective, PackRunner(plan.experiment, bench), size)


def _run_with_gang(plan: Plan, ranks: int) -> int:
    """The training in other processes; this one imports no torch as long as they run."""
    gang = Gang(
        plan.experiment,
        ranks=ranks,
        devices=_devices(ranks),
        cache=plan.cache,
        time_limit=plan.settings.time_limit,
        warm=plan.settings.warm,
    )
    with gang:
        gang.start()  # a mistake shows before there is a study
        study = _open(plan)
        stopped = _search(plan, study, LoraObjective(plan.experiment, gang, plan.folder))
    if stopped:
        return _stopped()
    return 0 if plan.search_only else _load_and_finish(plan, study)


def _devices(ranks: int, workers: int = 1) -> list[str]:
    """The GPUs of this process's ranks; none where the machine has none."""
    found = storage.accelerators()
    if found and len(found) < ranks * workers:
        raise UserError(
            f"--gpus-per-trial {ranks}: {workers} worker{'s' if workers > 1 else ''} would take "
            f"{ranks * workers} GPUs, and there are {len(found)}; lower it, or --workers"
        )
    return found[:ranks]


def _run_workers(plan: Plan) -> int:
    """The same with the search in other processes; the base is loaded here when they are done."""
    from objectives.bench import load_data
    from objectives.runner import check_direction
    from objectives.runner import load_scorer

    assert plan.workers is not None
    if plan.ranks is not None:
        _devices(plan.ranks, plan.workers)
    tokenizer, _ = load_data(plan.experiment, cache=plan.cache)
    check_direction(plan.experiment, load_scorer(plan.experiment, tokenizer, test=True))
    study = _open(plan)
    if _search_with_workers(plan, study):
        return _stopped()
    return _load_and_finish(plan, study)


def _load_and_finish(plan: Plan, study: optuna.Study) -> int:
    from objectives.bench import load_bench
    from objectives.runner import load_scorer

    bench = load_bench(plan.experiment, cache=plan.cache)
    scorer = load_scorer(plan.experiment, bench.tokenizer, test=True)
    return _finish(plan, study, bench, scorer)


def _quieten() -> None:
    """The terminal is for the progress of the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


# ---- the study ----


def _existing(plan: Plan) -> optuna.Study | None:
    new = plan.settings.storage is None and not plan.folder.is_dir()
    if new or not storage.exists(plan.url):
        return None
    try:
        return optuna.load_study(study_name=plan.name, storage=storage.open(plan.url))
    except KeyError:  # Optuna's word for: no study of that name
        return None


def _sampler(plan: Plan) -> BaseSampler:
    name = plan.settings.sampler
    try:
        return SAMPLERS[name](plan.experiment.search_space(), plan.settings)
    except ImportError as error:
        raise UserError(f"--sampler {name}: {error}") from None


def _bayesian(seed: int, start: int = 10) -> BaseSampler:
    """Gaussian process and expected improvement after a Latin hypercube, as in the research."""
    try:
        from optuna_integration import BoTorchSampler
    except ImportError:
        raise ImportError(
            "`BoTorchSampler` is missing; install it with `pip install optuna-integration botorch`"
        ) from None
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # one per trial
    latin = LatinHypercubeSampler(n_trials=start, seed=seed)
    sampler: BaseSampler = BoTorchSampler(
        n_startup_trials=start, independent_sampler=latin, seed=seed
    )
    return sampler


def _open(plan: Plan) -> optuna.Study:
    """The study, made or continued."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=plan.name,
        storage=storage.open(plan.url),
        sampler=_sampler(plan),
        pruner=PRUNERS[plan.settings.pruner](plan.experiment.training.validations),
        direction=plan.experiment.direction,
        load_if_exists=True,
    )
    keep_experiment(study, plan.experiment)
    for number in storage.recover(study):
        print(f"trial {number} was left by a process that is gone; it is run again")
    return study


def _search(plan: Plan, study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> bool:
    """Runs trials until enough have finished; whether the user stopped it."""
    wanted = plan.settings.trials
    if _told(plan, study) >= wanted:
        return False
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
        try:
            with interruption.welcome():
                needed = turns.wait(study)
            if needed:
                study.optimize(run, callbacks=[Progress(wanted, plan.unit), prune, take_turn])
        except KeyboardInterrupt:
            return True
    return False


def _search_in_packs(plan: Plan, study: optuna.Study, packs: Packs) -> bool:
    """The same with several trials at a time."""
    wanted = plan.settings.trials
    if _told(plan, study) >= wanted:
        return False
    turns, interruption = storage.Turns(wanted, finished), Interruption()

    def room() -> int:
        with interruption.welcome():
            if not turns.wait(study):
                return 0
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return max(1, wanted - len(finished(study)) - len(running))

    with _meter(plan) as meter, kept_in_study(study, meter), interruption.installed():
        try:
            search_in_packs(
                study,
                packs,
                room=room,
                mark=storage.mark_worker,
                callbacks=[
                    Progress(wanted, plan.unit),
                    keep_best_adapters(plan.experiment.scoring.best),
                ],
                welcome=interruption.welcome,
            )
        except KeyboardInterrupt:
            return True
    return False


def _search_with_workers(plan: Plan, study: optuna.Study) -> bool:
    """Has trials run by workers until enough have finished; whether the user stopped it."""
    assert plan.workers is not None
    wanted = plan.settings.trials
    if _told(plan, study) >= wanted:
        return False
    progress = Progress(wanted, plan.unit, seen=finished(study))
    with _meter(plan) as meter, kept_in_study(study, meter):
        return storage.workers.run(
            plan.worker,
            plan.workers,
            logs=plan.folder / "workers",
            look=lambda: progress.look(study),
        )


def _meter(plan: Plan) -> AbstractContextManager[Meter | None]:
    """Of this host's energy, where it is wanted and no other process has it."""
    if not plan.settings.energy:
        return nullcontext()
    return host_meter(storage.accelerators(), plan.settings.country)


def _told(plan: Plan, study: optuna.Study) -> int:
    """The trials finished before."""
    done = len(finished(study))
    of = f"{done} of {plan.settings.trials} trials finished"
    print(f"study {plan.name} in {storage.shown(plan.url)}: {of}", flush=True)
    return done


# ---- afterwards ----


def _finish(plan: Plan, study: optuna.Study, bench: Any, scorer: Any) -> int:
    from objectives.final import final_test
    from objectives.final import save_best

    if not best_trials(study, 1):
        print("no trial has a value; the failures are in the report")
        print(f"report         {_report(plan, study, [])}")
        return 1
    test = plan.experiment.scoring.test
    rows = final_test(plan.experiment, bench, scorer, study, plan.folder) if test else []
    best = study.best_trial
    print(f"best           {best.value:.4f} in trial {best.number}")
    for name, value in best.params.items():
        print(f"  {name:<18} {value if isinstance(value, bool | str) else f'{value:.4g}'}")
    print(f"best adapter   {save_best(plan.experiment, study, rows, plan.folder)}")
    print(f"report         {_report(plan, study, rows)}")
    return 0


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
        settings={
            "model": plan.experiment.model.name,
            "data": plan.experiment.data.train,
            "objective": scoring.objective,
            "sampler": plan.settings.sampler,
            "storage": storage.shown(plan.url),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
