"""One call of the command, from its arguments to its exit status; where errors are told."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import gc
import os
import select
import shlex
import signal
import sys
import time
from typing import Any

import optuna

from objectives.errors import UserError
from objectives.gang.supervisor import Gang
from objectives.gang.supervisor import GangFailed
from objectives.job import Trainer
from objectives.objective import LoraObjective
from objectives.output import writing
from objectives.pack.search import Packs
from objectives.result.adapters import keep_best_adapters
from objectives.result.final import base_exam
from objectives.result.final import examine_base
from objectives.settings.plan import LoraPlan
from objectives.settings.plan import OwnPlan
from objectives.settings.read_plan import read_plan
from objectives.settings.sections.sources import shown
from objectives.starting import importing
from objectives.starting import wait_gently
from objectives.training.tracking import check_tracker
from objectives.tune.cluster.attached import end_all
from objectives.tune.cluster.attached import search_on_engine
from objectives.tune.cluster.engines import engine_of
from objectives.tune.ending import finish
from objectives.tune.interruption import end_in_order
from objectives.tune.interruption import INTERRUPTED
from objectives.tune.interruption import STOPPED
from objectives.tune.limits import Limits
from objectives.tune.own import run_own
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS
from objectives.tune.search import Callback
from objectives.tune.search import is_exhausted
from objectives.tune.search import search
from objectives.tune.search import search_packs
from objectives.tune.search import search_with_workers
from objectives.tune.study import check_plan
from objectives.tune.study import existing_study
from objectives.tune.study import has_work
from objectives.tune.study import open_study
from objectives.tune.study import tell_end
from objectives.tune.study import tell_over
import storage


__all__ = ["run"]

MISTAKE = storage.workers.MISTAKE
UNREAD = 128 + signal.SIGPIPE
"""Exit status, as a shell counts an end by that signal."""


def run(arguments: Sequence[str] | None) -> int:
    """Runs the command.

    Args:
        arguments: None takes those of this process.

    Returns:
        Its exit status.
    """
    try:
        status = _run_and_tell(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _is_unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter's own flush at its end
        return UNREAD


def _is_unread() -> bool:
    """Whether nobody reads what is written on the terminal's side, as after `| head`."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _run_and_tell(arguments: Sequence[str] | None) -> int:
    storage.workers.follow()
    _quieten()
    wait_gently()
    try:
        _check_started_once()
        return _run(read_plan(arguments, SAMPLERS, PRUNERS))
    except (UserError, storage.EngineError, storage.StorageError) as error:
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


def _use_expandable_segments() -> None:
    """Has CUDA's memory grow in place, unless someone has said how.

    Micro-batches differ in length, and of freed blocks of many sizes none may fit the next: memory
    would seem to run out, and the micro-batch be halved, with much of it free.
    """
    if "PYTORCH_ALLOC_CONF" not in os.environ and sys.platform == "linux":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def _run(plan: LoraPlan | OwnPlan) -> int:
    try:
        return run_own(plan) if isinstance(plan, OwnPlan) else _search_and_test(plan)
    except Exception as error:
        if not storage.broke_off(error):
            raise
        print(
            f"error: the storage broke off ({storage.reason(error, plan.url)}); "
            "the same command continues this study",
            file=sys.stderr,
        )
        return 1


def _search_and_test(plan: LoraPlan) -> int:
    _use_expandable_segments()
    _quieten_libraries()
    engine = None if plan.engine is None else engine_of(plan)
    if engine is not None and plan.workers == 0:
        return end_all(engine)
    check_tracker(plan.settings.tracker)
    if plan.proxy is not None:
        _search_proxy(plan, plan.proxy)
    check_plan(plan)
    if not has_work(plan):
        tell_over(plan)
        return 0
    data = shown(plan.experiment.data.train)
    if engine is not None and engine.found() and (existing := existing_study(plan)) is not None:
        return search_on_engine(plan, existing, engine)  # what it needs was there
    print(f"loading {plan.experiment.model.name} and {data} ...", flush=True)
    if engine is not None:
        return search_on_engine(plan, _prepared(plan), engine)
    return _run_here(plan) if plan.workers is None else _run_workers(plan)


def _search_proxy(plan: LoraPlan, proxy: LoraPlan) -> None:
    """By workers: what they have loaded is gone with them."""
    assert plan.experiment.proxy is not None
    try:
        check_plan(proxy)
    except UserError as error:
        raise UserError(
            f"--proxy: {error}\n  (or leave --proxy out, and learn from that study with "
            f"--previous {proxy.name})"
        ) from None
    if not has_work(proxy):
        tell_over(proxy)
        return
    smaller = plan.experiment.proxy.in_words
    print(f"proxy          {proxy.trials} trials {smaller}, study {proxy.name}", flush=True)
    _run_workers(proxy)


# The heavy imports wait until the plan is sound.


def _run_here(plan: LoraPlan) -> int:
    return _run_alone(plan) if plan.ranks is None else _run_with_gang(plan, plan.ranks)


def _run_alone(plan: LoraPlan) -> int:
    """One process that asks, trains and tests."""
    with importing():
        from objectives.model.bench import load_bench
        from objectives.pack.runner import check_pack
        from objectives.training.runner import load_scorer
        from objectives.training.runner import Runner

    bench = load_bench(plan.experiment, cache=plan.cache)
    scorer = load_scorer(plan.experiment, bench.tokenizer, test=not plan.search_only)
    trainer = Runner(plan.experiment, bench, scorer)
    if plan.settings.pack is not None:
        check_pack(plan.experiment, bench)
    _tell(bench.notes)
    gc.freeze()  # every trial ends with a collection, which need not look at what stays
    study = open_study(plan, bench.corpus.fingerprint, trainer.direction)
    end_in_order()
    _time_base_exam(plan, study, trainer)
    limits = Limits(plan, study)
    objective = LoraObjective(plan.experiment, trainer, plan.folder)
    packs = _packs(plan, bench, objective)
    if packs is None:
        search(plan, study, objective, limits, _keep(plan))
    else:
        search_packs(plan, study, packs, limits, _keep(plan))
    return _ended(plan, study, limits, trainer)


def _keep(plan: LoraPlan) -> Callback:
    return keep_best_adapters(plan.experiment.scoring.best)


def _packs(plan: LoraPlan, bench: Any, objective: LoraObjective) -> Packs | None:
    """What trains several trials together; None where they are trained one at a time."""
    if plan.settings.pack is None:
        return None
    from objectives.pack.runner import pack_size
    from objectives.pack.runner import PackRunner

    wanted = plan.settings.pack
    size = pack_size(plan.experiment, bench) if wanted == "auto" else int(wanted)
    return Packs(objective, PackRunner(plan.experiment, bench), size)


def _run_with_gang(plan: LoraPlan, ranks: int) -> int:
    """The training in other processes; this one imports no torch as long as they train."""
    end_in_order()
    with _gang(plan, ranks) as gang:
        ready = gang.start()  # a mistake shows before there is a study
        _tell(ready.notes)
        study = open_study(plan, ready.samples_fingerprint, ready.direction)
        _time_base_exam(plan, study, gang)
        limits = Limits(plan, study)
        objective = LoraObjective(plan.experiment, gang, plan.folder)
        search(plan, study, objective, limits, _keep(plan))
        return _ended(plan, study, limits, gang)


def _gang(plan: LoraPlan, ranks: int) -> Gang:
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


def _devices(plan: LoraPlan, workers: int = 1) -> list[str]:
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


def _run_workers(plan: LoraPlan) -> int:
    """The same with the search in other processes; the base is loaded here when they are done."""
    with importing():
        from objectives.training.runner import load_runner
    assert plan.workers is not None
    if plan.ranks is not None:
        _devices(plan, plan.workers)
    study = _prepared(plan)
    end_in_order()
    with _gang(plan, plan.ranks or 1) as gang:  # gone before the workers load their bases
        _time_base_exam(plan, study, gang, gang.start)
    limits = Limits(plan, study)
    search_with_workers(plan, study, limits)
    if plan.ranks is None:
        scoring = plan.experiment.scoring
        asked = not plan.search_only and (scoring.test or scoring.answers)
        trainer = load_runner(plan.experiment, plan.cache, test=True) if asked else None
        return _ended(plan, study, limits, trainer)
    with _gang(plan, plan.ranks) as gang:
        return _ended(plan, study, limits, gang)


def _prepared(plan: LoraPlan) -> optuna.Study:
    """The study of workers, once what a mistake would show in is loaded."""
    with importing():
        from objectives.model.architecture import check_architecture
        from objectives.model.bench import load_data
        from objectives.training.runner import direction_of
        from objectives.training.runner import load_scorer
    adapters = check_architecture(plan.experiment)
    tokenizer, corpus = load_data(plan.experiment, cache=plan.cache)
    scorer = load_scorer(plan.experiment, tokenizer, test=True)
    direction = direction_of(plan.experiment, scorer)
    _tell([*adapters, *corpus.notes])
    return open_study(plan, corpus.fingerprint, direction)


def _time_base_exam(
    plan: LoraPlan,
    study: optuna.Study,
    trainer: Trainer,
    load: Callable[[], object] = lambda: None,
) -> None:
    """Where the final test must end in time, one exam of the base says how long the others take.

    Args:
        plan: Its budget.
        study: Keeps the exam.
        trainer: Makes it.
        load: Loads what `trainer` needs, where that is to be loaded again after the search.
    """
    tests = [] if plan.search_only else plan.experiment.scoring.test
    if plan.until is None or not tests or base_exam(study, tests) is not None:
        return
    start = time.perf_counter()
    load()
    examine_base(plan.experiment, trainer, study, loading=time.perf_counter() - start)


def _ended(plan: LoraPlan, study: optuna.Study, limits: Limits, trainer: Trainer | None) -> int:
    """After the search."""
    tell_end(limits, exhausted=is_exhausted(study))
    if plan.search_only:
        return 0
    with writing(plan.folder):
        return finish(plan, study, trainer, limits)


def _tell(notes: Sequence[str]) -> None:
    """Once for a command: its workers' lines go to their logs, and its ranks print none."""
    for note in notes:
        print(note, flush=True)


def _quieten() -> None:
    """The terminal is for the progress of the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _quieten_libraries() -> None:
    """Not those of somebody else's trainer, whose output may have its value."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
