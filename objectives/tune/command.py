"""One call of the command, from its arguments to its exit status; where errors are told."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import gc
import os
import shlex
import sys
import threading
import time
from typing import Any

import optuna

from objectives.errors import UserError
from objectives.gang.supervisor import Gang
from objectives.gang.supervisor import GangFailed
from objectives.job import Examiner
from objectives.objective import LoraObjective
from objectives.output import check_writable
from objectives.output import writing
from objectives.pack.search import Packs
from objectives.result.final import base_exam
from objectives.result.final import examine_base
from objectives.settings.comparable import check_comparable
from objectives.settings.plan import Plan
from objectives.settings.plan import read_plan
from objectives.training.tracking import check_tracker
from objectives.tune.ending import finish
from objectives.tune.energy import check_can_measure
from objectives.tune.interruption import end_in_order
from objectives.tune.interruption import INTERRUPTED
from objectives.tune.interruption import STOPPED
from objectives.tune.limits import Limits
from objectives.tune.progress import finished
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS
from objectives.tune.search import is_exhausted
from objectives.tune.search import search
from objectives.tune.search import search_packs
from objectives.tune.search import search_with_workers
from objectives.tune.study import existing_study
from objectives.tune.study import open_study
from objectives.tune.study import tell_finished
import storage


__all__ = ["run"]

MISTAKE = storage.workers.MISTAKE


def run(arguments: Sequence[str] | None) -> int:
    """Runs the command.

    Args:
        arguments: None takes those of this process.

    Returns:
        Its exit status.
    """
    storage.workers.follow()
    _quieten()
    _wait_gently()
    _leave_no_holes()
    try:
        _check_started_once()
        return _run(read_plan(arguments, SAMPLERS, PRUNERS))
    except (UserError, storage.StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except storage.workers.WorkersFailed as error:
        print(error if error.mistake else f"error: {error}", file=sys.stderr)
        return MISTAKE if error.mistake else 1
    except GangFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, flush=True)
        return INTERRUPTED


def _check_started_once() -> None:
    """Several of us would each search, and wait for each other in trials that are not the same."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise UserError(
            f"WORLD_SIZE = {count}: started {count} times, as `accelerate launch` or torchrun do; "
            f"the command starts a trial's processes itself: python -m objectives.tune ... "
            f"--gpus-per-trial {count} (or unset WORLD_SIZE)"
        )


def _wait_gently() -> None:
    """Lets torch's threads sleep soon when they wait for each other, unless someone has said how.

    By default they spin for milliseconds: with one busy neighbour on a machine of two processors
    a trial of 11 s took more than 7 min, and takes 20 s so. Read when torch is loaded, also by
    ranks and workers.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _leave_no_holes() -> None:
    """Has CUDA's memory grow in place, unless someone has said how.

    Micro-batches differ in length, and of freed blocks of many sizes none may fit the next: memory
    would seem to run out, and the micro-batch be halved, with much of it free.
    """
    if "PYTORCH_ALLOC_CONF" not in os.environ and sys.platform == "linux":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def _run(plan: Plan) -> int:
    try:
        return _search_and_test(plan)
    except Exception as error:
        if not storage.broke_off(error):
            raise
        print(
            f"error: the storage broke off ({storage.reason(error, plan.url)}); "
            "the same command continues this study",
            file=sys.stderr,
        )
        return 1


def _search_and_test(plan: Plan) -> int:
    check_writable(plan.folder)
    if plan.workers is not None and storage.private(plan.url):
        raise UserError(
            f"--workers {plan.workers}: {plan.url} is in the memory of one process; "
            "take a file, for example --storage sqlite:///study.db"
        )
    existing = existing_study(plan)
    if existing is not None:
        _tell(check_comparable(existing, plan.experiment, storage.shown(plan.url)))
        if plan.search_only and Limits(plan, existing).wanted(finished(existing)) <= 0:
            tell_finished(plan, existing)
            return 0  # a worker that comes late loads nothing
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
    from objectives.model.bench import load_bench
    from objectives.pack.runner import check_pack
    from objectives.training.runner import load_scorer
    from objectives.training.runner import Runner

    bench = load_bench(plan.experiment, cache=plan.cache)
    scorer = load_scorer(plan.experiment, bench.tokenizer, test=not plan.search_only)
    run = Runner(plan.experiment, bench, scorer)
    if plan.settings.pack is not None:
        check_pack(plan.experiment, bench)
    _tell(bench.notes)
    gc.freeze()  # every trial ends with a collection, which need not look at what stays
    study = open_study(plan, bench.corpus.fingerprint)
    end_in_order()
    limits = _limits(plan, study, run)
    objective = LoraObjective(plan.experiment, run, plan.folder)
    packs = _packs(plan, bench, objective)
    if packs is None:
        search(plan, study, objective, limits)
    else:
        search_packs(plan, study, packs, limits)
    return _ended(plan, study, limits, run)


def _packs(plan: Plan, bench: Any, objective: LoraObjective) -> Packs | None:
    """What trains several trials together; None where they are trained one at a time."""
    if plan.settings.pack is None:
        return None
    from objectives.pack.runner import pack_size
    from objectives.pack.runner import PackRunner

    wanted = plan.settings.pack
    size = pack_size(plan.experiment, bench) if wanted == "auto" else int(wanted)
    return Packs(objective, PackRunner(plan.experiment, bench), size)


def _run_with_gang(plan: Plan, ranks: int) -> int:
    """The training in other processes; this one imports no torch as long as they train."""
    end_in_order()
    with _gang(plan, ranks) as gang:
        ready = gang.start()  # a mistake shows before there is a study
        _tell(ready.notes)
        study = open_study(plan, ready.samples)
        limits = _limits(plan, study, gang)
        search(plan, study, LoraObjective(plan.experiment, gang, plan.folder), limits)
        return _ended(plan, study, limits, gang)


def _gang(plan: Plan, ranks: int) -> Gang:
    launcher = shlex.split(plan.settings.launcher or "")
    return Gang(
        plan.experiment,
        ranks=ranks,
        devices=[] if launcher else _devices(plan),
        launcher=launcher,
        cache=plan.cache,
        time_limit=plan.settings.time_limit,
        warm=plan.settings.warm,
        test=not plan.search_only,
    )


def _devices(plan: Plan, workers: int = 1) -> list[str]:
    """The GPUs of this process's ranks; none where the machine has none."""
    found, ranks = storage.accelerators(), plan.ranks or 1
    if found and len(found) < ranks * workers:
        given = plan.settings.gpus_per_trial
        why = f"--gpus-per-trial {given}" if given else "--time-limit or --cold, a GPU per trial"
        raise UserError(
            f"{why}: {workers} worker{'s' if workers > 1 else ''} would take {ranks * workers} "
            f"GPUs, and there {'is' if len(found) == 1 else 'are'} {len(found)}; "
            f"lower {'it, or ' if given else ''}--workers"
        )
    return found[:ranks]


def _run_workers(plan: Plan) -> int:
    """The same with the search in other processes; the base is loaded here when they are done."""
    from objectives.model.architecture import check_architecture
    from objectives.model.bench import load_data
    from objectives.training.runner import check_direction
    from objectives.training.runner import load_runner
    from objectives.training.runner import load_scorer

    assert plan.workers is not None
    if plan.ranks is not None:
        _devices(plan, plan.workers)
    adapters = check_architecture(plan.experiment)
    tokenizer, corpus = load_data(plan.experiment, cache=plan.cache)
    check_direction(plan.experiment, load_scorer(plan.experiment, tokenizer, test=True))
    _tell([*adapters, *corpus.notes])
    study = open_study(plan, corpus.fingerprint)
    end_in_order()
    with _gang(plan, plan.ranks or 1) as gang:  # gone before the workers load their bases
        limits = _limits(plan, study, gang, gang.start)
    search_with_workers(plan, study, limits)
    if plan.ranks is None:
        tests = plan.experiment.scoring.test
        run = load_runner(plan.experiment, plan.cache, test=True) if tests else None
        return _ended(plan, study, limits, run)
    with _gang(plan, plan.ranks) as gang:
        return _ended(plan, study, limits, gang)


def _limits(
    plan: Plan, study: optuna.Study, run: Examiner, load: Callable[[], object] = lambda: None
) -> Limits:
    """Of the search; where a final test must end in time, one exam says how long they take.

    Args:
        plan: Its budget.
        study: Keeps the exam.
        run: Makes it.
        load: Loads what `run` needs, where that is to be loaded again after the search.
    """
    tests = [] if plan.search_only else plan.experiment.scoring.test
    if plan.until is not None and tests and base_exam(study, tests) is None:
        start = time.perf_counter()
        load()
        examine_base(plan.experiment, run, study, loading=time.perf_counter() - start)
    return Limits(plan, study)


def _ended(plan: Plan, study: optuna.Study, limits: Limits, run: Examiner | None) -> int:
    """After the search."""
    if (why := limits.why_ended(is_exhausted(study))) is not None:
        print(f"search ended   {why}", flush=True)
    if plan.search_only:
        return 0
    with writing(plan.folder):
        return finish(plan, study, run, limits)


def _tell(notes: Sequence[str]) -> None:
    """Once for a command: its workers' lines go to their logs, and its ranks print none."""
    for note in notes:
        print(note, flush=True)


def _quieten() -> None:
    """The terminal is for the progress of the study."""
    threading.excepthook = _unless_it_broke_off
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _unless_it_broke_off(error: threading.ExceptHookArgs) -> None:
    """That the storage did, a heartbeat's thread sees first; the trial's own end tells of it."""
    if error.exc_value is None or not storage.broke_off(error.exc_value):
        threading.__excepthook__(error)
