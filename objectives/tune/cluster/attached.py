"""A search whose workers are an engine's: started, watched, followed to the report, left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
import time

import optuna
from optuna.trial import TrialState

from objectives.errors import UserError
from objectives.settings.plan import Plan
from objectives.tune.cluster.engines import notes
from objectives.tune.interruption import INTERRUPTED
from objectives.tune.limits import Limits
from objectives.tune.machines.watch import Watch
from objectives.tune.progress import finished
from objectives.tune.search import watched
from objectives.tune.study import tell_finished
import storage
from storage.engines.engine import Cluster
from storage.engines.engine import End
from storage.engines.engine import Worker
from storage.engines.supervisor import Crew
from storage.engines.supervisor import signals_heard
from storage.engines.supervisor import WorkersFailed


__all__ = ["end_all", "search_on_engine"]

ATTACH = "the same command attaches again, and with --workers 0 it ends them"
STATUS = {End.DONE: 0, End.MISTAKE: 2, End.DIED: 1, End.LEFT: INTERRUPTED}


def end_all(engine: Cluster) -> int:
    """Sends all workers away; the exit status."""
    workers = [*engine.found(), *engine.found_last(begun=True)]
    engine.stop(workers, 0.0, lambda: True)
    _say(f"workers        {len(workers)} ended; with more --workers the study continues")
    return 0


def search_on_engine(plan: Plan, study: optuna.Study, engine: Cluster) -> int:
    """Starts what is missing and, unless it is to leave, stays to the end; the exit status."""
    assert plan.workers is not None and plan.engine is not None
    tell_finished(plan, study)
    limits, done, watch = Limits(plan, study), finished(study), Watch(study)
    crew = Crew(engine, plan.workers, watch.say)
    searching = limits.wanted(done) > 0
    if searching:
        _fill(plan, engine, crew, len(done))
    found = engine.found_last(begun=not searching)
    last = found[0] if found else engine.start_last((*plan.one_process_argv, "--last"))
    if plan.engine.detach:
        _say(f"detached       {ATTACH}")
        return 0
    with signals_heard() as heard:
        try:
            stopped = searching and _searched(plan, study, limits, crew, watch, heard)
        except WorkersFailed:
            engine.stop([*crew.workers, last], 0.0, lambda: True)  # they would fail as well
            raise
        status = None if stopped else _followed(engine, last, heard)
    return _interrupted(plan, engine, [*crew.workers, last]) if status is None else status


def _fill(plan: Plan, engine: Cluster, crew: Crew, done: int) -> None:
    """As many as wanted: others of this study may run already."""
    assert plan.engine is not None
    found = engine.found()
    if engine.others():
        raise UserError(
            f"--on {plan.engine.name}: study {plan.name} has workers ({engine.others()}) with "
            "other options, such as --trials; give the same ones, or end them first with "
            "--workers 0"
        )
    surplus = crew.adopt(found, done)
    engine.stop(surplus, 0.0, lambda: True)
    new = max(0, (plan.workers or 0) - len(found))
    crew.start(done)
    told = [f"{len(found)} found"] if found else []
    told += [f"{len(surplus)} sent away"] if surplus else []
    told += [f"{new} submitted"] if new else []
    _say(f"workers        {plan.workers} on {plan.engine.name}: {', '.join(told)}")
    for note in notes(plan) if new else []:
        _say(note)


def _searched(
    plan: Plan,
    study: optuna.Study,
    limits: Limits,
    crew: Crew,
    watch: Watch,
    heard: Sequence[int],
) -> bool:
    """Watched until the search is over; whether a signal ended it."""
    look, over = watched(plan, study, limits, watch), partial(_is_over, study, limits)
    with watch:
        return crew.run(look, heard, over)


def _is_over(study: optuna.Study, limits: Limits) -> bool:
    """Workers that wait for their turn are not waited for."""
    try:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return not running and limits.wanted(finished(study)) <= 0
    except Exception as error:
        if not storage.broke_off(error):
            raise
        return False


def _followed(engine: Cluster, last: Worker, heard: Sequence[int]) -> int | None:
    """Shows what the last one writes until it has ended; None when a signal came first."""
    read = 0
    while True:
        engine.look()
        ended = last.ended()
        read = _show(last, read)
        if ended is not None:
            if ended.end is not End.DONE:
                _say(f"report         {ended.how}; its log is {last.log}")
            return STATUS[ended.end]
        if heard:
            return None
        time.sleep(engine.pause)


def _show(last: Worker, read: int) -> int:
    """Whole lines of what it writes from there on; how far it is read now."""
    if not last.output.exists():
        return read
    with last.output.open("rb") as log:
        log.seek(read)
        text = log.read()
    whole = text[: text.rfind(b"\n") + 1]
    print(whole.decode(errors="replace"), end="", flush=True)
    return read + len(whole)


def _interrupted(plan: Plan, engine: Cluster, workers: Sequence[Worker]) -> int:
    assert plan.engine is not None
    if plan.engine.cancel:
        engine.stop(workers, 0.0, lambda: True)
        _say(f"stopped        {len(workers)} ended; the same command continues this study")
    else:
        _say(f"left           {len(workers)} on {plan.engine.name} go on; {ATTACH}")
    return INTERRUPTED


def _say(line: str) -> None:
    print(line, flush=True)
