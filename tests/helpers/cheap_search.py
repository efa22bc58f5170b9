"""A search of workers anywhere: cheap, in a process of its own, and what must have come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
import time
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


TRIALS = 60
WAITING = 20
"""Trials from this number on wait for a file; whatever befalls one of them finds it running."""
SEARCH = f"""
import pathlib, sys, time
import optuna, storage
from optuna_partition import SOOSampler

storage.workers.follow()
study = optuna.load_study(
    study_name="one", storage=storage.open(sys.argv[1]), sampler=SOOSampler()
)

def complete(study):
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))

def objective(trial):
    storage.mark_worker(trial)
    point = [trial.suggest_float(name, -4, 5) for name in "xy"]
    time.sleep(0.2)
    while trial.number >= {WAITING} and not pathlib.Path(sys.argv[3]).exists():
        time.sleep(0.1)
    return sum(x * x for x in point)

turns = storage.Turns(lambda done: int(sys.argv[2]) - len(done), complete, look=0.2)
if turns.wait(study):
    study.optimize(objective, callbacks=[turns])
"""
"""Its arguments: the storage, the number of trials, and the file that later trials wait for."""
REPORT = "import sys; print('the report'); open(sys.argv[1], 'x').write('made')"


def until(look: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def in_state(study: optuna.Study, state: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(state,))


def process(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].split(":")[1])


def all_wait(study: optuna.Study, workers: int) -> list[FrozenTrial]:
    """The trials that wait for the file, once each worker has come to one; none before.

    A fault that met the first of them while others still work would have its point asked for
    again at once, and a point at which workers die three times is given up.
    """
    running = in_state(study, TrialState.RUNNING)
    waiting = [t for t in running if t.number >= WAITING and len(t.params) == 2]
    return waiting if len(waiting) == workers else []


def open_gate(gate: Path, hit: Iterable[int]) -> None:
    """Lets trials end that wait, once the processes are gone that something has befallen.

    One that is told to end has some seconds for it, in which its trial would be complete.
    """
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in hit))
    gate.touch()


def check_nothing_is_lost(study: optuna.Study, faults: int, workers: int) -> None:
    """Each fault cost a trial, whose point was evaluated all the same; none was twice."""
    done = in_state(study, TrialState.COMPLETE)
    assert TRIALS <= len(done) <= TRIALS + workers - 1
    points = Counter(tuple(trial.params.items()) for trial in done)
    assert max(points.values()) == 1, "duplicates"
    lost = [trial for trial in in_state(study, TrialState.FAIL) if trial.params]
    assert len(lost) >= faults, [(trial.number, trial.user_attrs) for trial in lost]
    gone = [trial.number for trial in lost if not came_again(trial, done)]
    assert not gone, f"lost for good: {gone} of {[trial.number for trial in lost]}"
    assert not in_state(study, TrialState.RUNNING)


def came_again(lost: FrozenTrial, done: list[FrozenTrial]) -> bool:
    """It may have been lost between its two parameters."""
    return any(lost.params.items() <= trial.params.items() for trial in done)
