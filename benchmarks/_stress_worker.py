"""One worker process of stress.py, and what it searches: asks a study, writes figures to a folder.

`python _stress_worker.py SAMPLER URL STUDY TRIALS FOLDER`; FOLDER/PID.jsonl gets a line per
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import logging
import math
import os
from pathlib import Path
import sys
import time
import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import GridSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


sys.path.insert(0, str(Path(__file__).parent.parent))
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
import storage


Space = dict[str, BaseDistribution]
INFERRED = "-inferred"
SAMPLERS: dict[str, Callable[[Space], BaseSampler]] = {
    "soo": lambda space: SOOSampler(search_space=space),
    "bamsoo": lambda space: BaMSOOSampler(search_space=space),
    "bamsoo-known": lambda space: BaMSOOSampler(
        search_space=space, prior={"c": "a", "n": 2}, previous=[earlier(space)]
    ),
    "direct": lambda space: DIRECTSampler(search_space=space),
    "soo-inferred": lambda space: SOOSampler(),
    "direct-inferred": lambda space: DIRECTSampler(),
    "random": lambda space: RandomSampler(),
    "tpe": lambda space: TPESampler(),
    "grid": lambda space: GridSampler({name: grid(axis) for name, axis in space.items()}, seed=0),
}
REFUSALS = "optuna.optuna_partition._study.claims"
"""The logger that hears of each claim refused, at level debug."""
LOOK_SECONDS = 0.2
UNMARKED_SECONDS = 10.0  # a trial without parameters or mark is then a dead worker's


def space(trials: int) -> Space:
    """Four parameters, one of each kind, with at least three points for every trial.

    In the order of their names, as an inferred space has them.
    """
    side = math.ceil(trials ** (1 / 3))
    return {
        "c": CategoricalDistribution(("a", "b", "c")),
        "m": IntDistribution(1, side, log=True),
        "n": IntDistribution(1, side),
        "x": FloatDistribution(0, 0.5 * (side - 1), step=0.5),
    }


def earlier(space: Space) -> optuna.Study:
    """A study of the same function by random search, the same in every process."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(lambda trial: value(trial, space), n_trials=20)
    return study


def grid(axis: BaseDistribution) -> list[float | int | str]:
    """All values of one parameter."""
    if isinstance(axis, CategoricalDistribution):
        return [str(choice) for choice in axis.choices]
    assert isinstance(axis, FloatDistribution | IntDistribution) and axis.step is not None
    return [axis.low + i * axis.step for i in range(round((axis.high - axis.low) / axis.step) + 1)]


def value(trial: optuna.Trial, space: Space) -> float:
    """A distance that costs nothing: the storage is what is measured."""
    x, n, m = (float(trial._suggest(name, space[name])) for name in "xnm")
    shift = {"a": 0.0, "b": 0.5, "c": 0.2}[trial._suggest("c", space["c"])]
    best = math.sqrt(len(grid(space["n"])))
    return abs(x - best / 3) + abs(n - best) + abs(m - 2) + shift


class Figures:
    """The times of this process's asks, and how many of its claims were refused.

    An ask is all that lies between the end of one trial and the objective of the next, and then
    the search for its parameters up to the last one written: the mark that says which process runs
    the trial is between the two and does not count.
    """

    def __init__(self, space: Space, folder: Path) -> None:
        self._space, self._refused = space, 0
        self._file = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1)
        self.begin()

    def refuse(self, record: logging.LogRecord) -> bool:
        """A filter of `REFUSALS`: counts, and prints nothing."""
        self._refused += 1
        return False

    def begin(self, *_: object) -> None:
        """The last callback of a trial: the next ask begins."""
        self._began = time.perf_counter()

    def objective(self, trial: optuna.Trial) -> float:
        seconds = time.perf_counter() - self._began
        storage.mark_worker(trial)
        start = time.perf_counter()
        result = value(trial, self._space)
        seconds += time.perf_counter() - start
        self._file.write(json.dumps({"ask": seconds, "refused": self._refused}) + "\n")
        self._refused = 0
        return result


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def main() -> None:
    sampler, url, name, trials, folder = sys.argv[1:]
    storage.workers.follow()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searched = space(int(trials))
    figures = Figures(searched, Path(folder))
    refusals = logging.getLogger(REFUSALS)
    refusals.setLevel(logging.DEBUG)
    refusals.addFilter(figures.refuse)
    study = optuna.create_study(
        study_name=name,
        storage=storage.open(url),
        sampler=SAMPLERS[sampler](searched),
        load_if_exists=True,
    )
    turns = storage.Turns(
        lambda done: int(trials) - len(done),
        finished,
        look=LOOK_SECONDS,
        grace=UNMARKED_SECONDS,
    )
    if turns.wait(study):
        figures.begin()
        study.optimize(figures.objective, callbacks=[turns, figures.begin])


if __name__ == "__main__":
    main()
