"""Studies as a version wrote them, and the points it asked for when they went on.

`python tests/data/make_studies.py` writes, with the code as it is, `studies_0.1.sql.gz`, a dump of
a database, and `studies_0.1.json` beside itself. `tests/study/test_going_on.py` says that later
code goes on in the same way. Do not run it over what is here, which is what studies out there look
like: a version that writes them otherwise gets files, and a `NAME`, of its own.

Values are sums and products of parameters, which are the same on all processors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
import gzip
import json
import math
from pathlib import Path
import sqlite3
import subprocess
import tempfile
from typing import Any
import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

import optuna_partition
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler


HERE = Path(__file__).parent
NAME = "studies_0.1"
FATES = [  # by trial; the first of every study has a value
    *("value", "value", "value", "nan", "value", "pruned", "value", "lost", "value", "died"),
    *("value", "running", "value", "running", "lost"),
]

Suggest = Callable[[optuna.Trial], float]


@dataclass(frozen=True)
class Kind:
    """How a study is made.

    Args:
        sampler: A sampler of it, new for every process.
        suggest: Suggests a trial's parameters and says its value.
        n_trials: Trials that are asked for before it is kept.
        direction: The study's.
        n_sure: How many of the next asks are of cells that no model chooses; None for all.
        n_next: How many points it is asked for in going on.
    """

    sampler: Callable[[], BaseSampler]
    suggest: Suggest
    n_trials: int = len(FATES)
    direction: str = "minimize"
    n_sure: int | None = None
    n_next: int = 10


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-1, 2),
    "n": IntDistribution(0, 8),
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "kind": CategoricalDistribution(("a", "b", "c")),
}


def mixed(trial: optuna.Trial) -> float:
    """The same parameters in every trial."""
    x = trial.suggest_float("x", -1, 2)
    n = trial.suggest_int("n", 0, 8)
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    kind = trial.suggest_categorical("kind", ("a", "b", "c"))
    return (x - 0.3) * (x - 0.3) + abs(n - 5) / 8 + 10 * rate + 0.25 * (kind != "b")


LINE: dict[str, BaseDistribution] = {"x": FloatDistribution(-1, 2)}


def line(trial: optuna.Trial) -> float:
    """So simple that a model soon spares a cell."""
    x = trial.suggest_float("x", -1, 2)
    return (x - 0.3) * (x - 0.3)


def branches(trial: optuna.Trial) -> float:
    """A choice decides on parameters, and so does a float, which no partition can."""
    kind = trial.suggest_categorical("kind", ("a", "b", "c"))
    value = 0.25 * (trial.suggest_float("shared", 0, 1) - 0.375)
    if kind == "a":
        value += trial.suggest_float("x", -1, 2) / 4
    elif kind == "b":
        value += trial.suggest_int("n", 1, 20, log=True) / 16
        value += 0.5 * trial.suggest_categorical("deep", (True, False))
    if trial.params["shared"] > 0.5:
        value += 0.125 * trial.suggest_float("late", 0, 1)
    return value


def ranges(trial: optuna.Trial) -> float:
    """A space of three points, and a parameter of a new range in every trial."""
    kind = trial.suggest_categorical("kind", ("a", "b", "c"))
    width = trial.suggest_float("width", 0, 1 + trial.number)
    return width * (0.5 + (kind == "b"))


def fixed() -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PartialFixedSampler({"n": 3}, SOOSampler(search_space=dict(SPACE)))


KINDS = {
    "soo given": Kind(lambda: SOOSampler(search_space=dict(SPACE)), mixed),
    "soo inferred": Kind(SOOSampler, mixed, direction="maximize"),
    "soo conditional": Kind(SOOSampler, branches, n_trials=30),
    "soo fixed": Kind(fixed, mixed),
    "soo used up": Kind(SOOSampler, ranges),
    "direct given": Kind(
        lambda: DIRECTSampler(search_space=dict(SPACE), locally_biased=False), mixed, n_trials=30
    ),
    "direct inferred": Kind(lambda: DIRECTSampler(locally_biased=False, epsilon=0.01), mixed),
    "direct conditional": Kind(
        lambda: DIRECTSampler(locally_biased=False), branches, direction="maximize"
    ),
    "direct-l given": Kind(lambda: DIRECTSampler(search_space=dict(SPACE)), mixed, n_trials=30),
    "direct-l inferred": Kind(DIRECTSampler, mixed, direction="maximize"),
    "direct-l conditional": Kind(DIRECTSampler, branches, n_trials=30),
    "bamsoo begun": Kind(
        lambda: BaMSOOSampler(search_space=dict(SPACE)), mixed, n_trials=3, n_sure=0, n_next=4
    ),
    "bamsoo given": Kind(
        lambda: BaMSOOSampler(search_space=dict(SPACE)), mixed, n_sure=1, n_next=4
    ),
    "bamsoo inferred": Kind(BaMSOOSampler, mixed, n_sure=1, n_next=4),
    "bamsoo conditional": Kind(lambda: BaMSOOSampler(seed=1), branches, n_sure=1, n_next=4),
    "bamsoo published": Kind(
        lambda: BaMSOOSampler(as_published=True, eta=1, search_space=dict(LINE)),
        line,
        n_trials=30,
        n_sure=1,
    ),
    "nomad given": Kind(lambda: NOMADSampler(search_space=dict(SPACE), seed=1), mixed),
    "nomad inferred": Kind(lambda: NOMADSampler(seed=1), mixed),
    "latin": Kind(lambda: LatinHypercubeSampler(n_trials=8), mixed),
}


def make(storage: str, name: str) -> None:
    """Writes a study, with trials of all fates."""
    kind = KINDS[name]
    study = optuna.create_study(
        storage=storage, study_name=name, direction=kind.direction, sampler=kind.sampler()
    )
    for i in range(kind.n_trials):
        if i == 4:
            study.enqueue_trial({"x": 0.25, "n": 5, "rate": 1e-3, "kind": "b", "shared": 0.5})
        elif i == 6:
            study.enqueue_trial({"kind": "c", "n": 2})
        trial = study.ask()
        end(study, trial, kind.suggest(trial), fate_of(i))


def fate_of(number: int) -> str:
    """How a trial ends."""
    return FATES[number % len(FATES)]


def end(study: optuna.Study, trial: optuna.Trial, value: float, fate: str) -> None:
    """Ends a trial, unless it runs on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nan is no value
        if fate == "value":
            study.tell(trial, value)
        elif fate == "nan":
            study.tell(trial, math.nan)
        elif fate == "lost":
            study.tell(trial, state=TrialState.FAIL)
        elif fate == "died":  # as when a heartbeat stops: nobody calls `after_trial`
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        elif fate == "pruned":
            trial.report(value, step=1)
            study.tell(trial, state=TrialState.PRUNED)


def go_on(storage: str | BaseStorage, name: str) -> optuna.Study:
    """Asks for the next points of a study; in the middle one ends that was running."""
    kind = KINDS[name]
    study = optuna.load_study(storage=storage, study_name=name, sampler=kind.sampler())
    for i in range(kind.n_next):
        trial = study.ask()
        study.tell(trial, kind.suggest(trial))
        if i == kind.n_next // 2:
            running = [t.number for t in study.trials if t.state is TrialState.RUNNING]
            if running:
                study.tell(running[0], -0.0625)
    return study


def next_points(study: optuna.Study) -> list[dict[str, Any]]:
    """The points asked for in going on: as parameters, or as cells where a model chooses most."""
    kind = KINDS[study.study_name]
    trials = study.trials[-kind.n_next :]
    if kind.n_sure is None:
        return [trial.params for trial in trials]
    asked = [trial.system_attrs["partition"] for trial in trials[: kind.n_sure]]
    return [{key: ask[key] for key in ("cell", "at") if key in ask} for ask in asked]


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    head = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    made_by = {
        "commit": subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip(),
        "optuna_partition": optuna_partition.__version__,
        "optuna": optuna.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "studies.db")
        for name in KINDS:
            make(f"sqlite:///{file}", name)
        with closing(sqlite3.connect(file)) as database:
            text = "\n".join(database.iterdump())
        (HERE / f"{NAME}.sql.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        found = {name: next_points(go_on(f"sqlite:///{file}", name)) for name in KINDS}
    kept = {"made by": made_by, "next": found}
    (HERE / f"{NAME}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
