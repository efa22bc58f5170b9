"""One run of one sampler on one instance, in memory; knows no file and no table."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from importlib.util import find_spec
import random
import time
import warnings

import numpy as np
import optuna

from benchmarks.compare import peers
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.results import Line
from benchmarks.compare.simulate import asynchronous
import optuna_partition


BLOCK = 10  # asks whose time is added up
ANSWERS = (10, 20, 30, 50, 100, 200)  # evaluations after which a run with noise is asked for one
_HAS_BOTORCH = find_spec("botorch") is not None
PACKAGES = (np, optuna, optuna_partition)


@dataclass(frozen=True)
class Task:
    """What identifies a run."""

    sampler: str
    family: str
    instance: str
    shift: int
    seed: int
    workers: int
    budget: int

    def line(self) -> Line:
        return {"kind": "run", **asdict(self)}


class Session:
    """A study of one sampler on one instance, and the time it spends in the sampler."""

    def __init__(
        self, instance: Instance, sampler: optuna.samplers.BaseSampler, seed: int
    ) -> None:
        self._instance, self._seed = instance, seed
        self._study = optuna.create_study(sampler=sampler)
        self.values: list[float] = []  # noise-free, in the order in which evaluations ended
        self.told: list[float] = []
        self.seconds: list[float] = []  # by the number of the trial
        self.answered: dict[int, float] = {}  # evaluations -> noise-free value of the answer then

    def ask(self) -> tuple[optuna.Trial, Params]:
        began = time.perf_counter()
        trial = self._study.ask()
        params = self._instance.ask(trial)
        self.seconds.append(time.perf_counter() - began)
        return trial, params

    def tell(self, asked: tuple[optuna.Trial, Params]) -> None:
        trial, params = asked
        value = self._instance.value(params)
        self.values.append(self._instance.counted(params))
        for name, x in self._instance.constrained(params).items():
            trial.set_constraint(name, x)
        self.told.append(self._instance.told(params, value, self._seed, trial.number))
        began = time.perf_counter()
        self._study.tell(trial, self.told[-1])
        self.seconds[trial.number] += time.perf_counter() - began
        if self._instance.noise is not None and len(self.values) in ANSWERS and _HAS_BOTORCH:
            answer = optuna_partition.best_trial(self._study)
            self.answered[len(self.values)] = self._instance.value(
                self._instance.ask(answer.trial)
            )


def run(task: Task, instance: Instance) -> Line:
    """The task's line with what came of it.

    `values` are noise-free, infinite where constraints are violated or the evaluation failed, and
    `told` is what the sampler was told (null where that is the same), in the order in which the
    evaluations ended, at the simulated times `ended`; `answered` is the noise-free value of
    `optuna_partition.best_trial` after so many of them; `ask_seconds` is the time in the sampler,
    of each ten trials.

    Raises:
        NotAvailable: The sampler cannot be used here.
    """
    chance = random.Random(f"{task.instance} {task.shift} {task.seed}")  # no sampler is luckier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = Session(instance, peers.maker(task.sampler)(instance, task.seed), task.seed)
        ended = list(asynchronous(session.ask, session.tell, task.workers, task.budget, chance))
    blocks = range(0, task.budget, BLOCK)
    return {
        **task.line(),
        "values": session.values,
        "told": session.told if instance.noise else None,
        "answered": {str(n): value for n, value in session.answered.items()},
        "ended": [round(now, 4) for now in ended],
        "ask_seconds": [round(sum(session.seconds[i : i + BLOCK]), 6) for i in blocks],
        "versions": {package.__name__: package.__version__ for package in PACKAGES},
    }
