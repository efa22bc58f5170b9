"""Trials and studies made by hand or by running a small space, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.report.history import History


SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "rank": IntDistribution(1, 64, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "effective_batch": CategoricalDistribution([8, 16, 32]),
}
PARAMS = {"learning_rate": 1e-3, "rank": 8, "dropout": 0.1, "effective_batch": 16}
START = datetime(2026, 1, 2, 3, 4)
NOW = datetime(2026, 1, 2, 12, 0)


def trial(
    value: float | None,
    state: TrialState = TrialState.COMPLETE,
    *,
    params: dict[str, Any] | None = None,
    space: dict[str, BaseDistribution] = SPACE,
    seconds: float | None = None,
    **more: Any,
) -> FrozenTrial:
    params = PARAMS | (params or {})
    made = create_trial(state=state, value=value, params=params, distributions=space, **more)
    if seconds is not None:
        made.datetime_start = START
        made.datetime_complete = START + timedelta(seconds=seconds)
    return made


def ran(
    number: int,
    worker: str,
    begun: float,
    ended: float | None = None,
    *,
    name: str = "",
    devices: Sequence[str] = (),
    failed: bool = False,
) -> FrozenTrial:
    """A trial as a worker on some machine leaves it.

    Args:
        number: Of the trial.
        worker: Host and process, "node1:17".
        begun: So many seconds ago.
        ended: The same; None where it runs.
        name: Of the worker.
        devices: Of the worker.
        failed: Whether it was lost.
    """
    host, process = worker.split(":")
    state = TrialState.RUNNING if ended is None else TrialState.COMPLETE
    trial = create_trial(
        state=TrialState.FAIL if failed else state,
        value=None if failed or ended is None else 1.0,
        user_attrs={
            "worker": f"{host}/402:{process}:{number}:99",
            "worker_allocation": {"name": name, "devices": list(devices)},
        },
    )
    trial.number = number
    trial.datetime_start = ago(begun)
    trial.datetime_complete = None if ended is None else ago(ended)
    return trial


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def study_of(*trials: FrozenTrial, direction: str = "minimize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def history_of(*trials: FrozenTrial, direction: str = "minimize") -> History:
    return History.of(study_of(*trials, direction=direction), SPACE)


def random_study(n: int, objective: Callable[[optuna.Trial], float]) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=n, catch=(ArithmeticError,))
    return study


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {name: trial._suggest(name, distribution) for name, distribution in SPACE.items()}


def real(trial: optuna.Trial) -> float:
    """The value depends on the learning rate, with the optimum inside; some trials fail."""
    params = suggest(trial)
    if trial.number % 7 == 3:
        trial.set_user_attr("failure", "the loss became nan at step 12")
        raise ArithmeticError
    if trial.number % 7 == 5:
        trial.report(3.0, 1)
        raise optuna.TrialPruned
    trial.set_user_attr("seconds_training", 0.001)
    return (math.log10(params["learning_rate"]) + 3.5) ** 2 + 0.01 * params["dropout"]
