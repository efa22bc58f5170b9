"""Long studies of scale.py: grown in memory, and put into a database table by table."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from datetime import datetime
from datetime import timedelta
from itertools import islice
import json
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import sqlalchemy as sa

from benchmarks._asks import SPACE
from benchmarks._asks import timed_ask


Show = Callable[[int], object]
_AT_ONCE = 5000  # rows of an insert
_LOOK = 500  # trials between two signs of progress


class _Growing(InMemoryStorage):
    """The list of trials itself where Optuna's copies it, at a cost that grows with the study."""

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if deepcopy or states is not None:
            return super().get_all_trials(study_id, deepcopy, states)
        return self._studies[study_id].trials


def grown(sampler: BaseSampler, told: int, in_flight: int, show: Show) -> list[FrozenTrial]:
    """Trials of a sampler that have a value, and then some that run."""
    study = optuna.create_study(storage=_Growing(), sampler=sampler)
    for n in range(told):
        timed_ask(study)
        if n % _LOOK == 0:
            show(n)
    for _ in range(in_flight):
        study.ask(dict(SPACE))
    return study.trials


def insert(storage: RDBStorage, name: str, trials: list[FrozenTrial]) -> None:
    """Makes a study of trials with one value each, by the table: a copy takes one by one."""
    optuna.create_study(storage=storage, study_name=name)
    study_id = storage.get_study_id_from_name(name)
    _fill(storage, models.TrialModel, (_trial(study_id, trial) for trial in trials))
    with storage.engine.connect() as connection:
        found = sa.select(models.TrialModel.number, models.TrialModel.trial_id)
        ids = {number: i for number, i in connection.execute(found.filter_by(study_id=study_id))}
    rows = [(ids[trial.number], trial) for trial in trials]
    _fill(storage, models.TrialParamModel, (r for i, t in rows for r in _params(i, t)))
    _fill(storage, models.TrialValueModel, (_value(i, t) for i, t in rows if t.values))
    _fill(storage, models.TrialSystemAttributeModel, (r for i, t in rows for r in _said(i, t)))
    running = (i for i, trial in rows if not trial.state.is_finished())
    _fill(storage, models.TrialHeartbeatModel, map(_lives, running))


def _fill(storage: RDBStorage, table: Any, rows: Iterable[dict[str, Any]]) -> None:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _AT_ONCE)):
        with storage.engine.begin() as connection:
            connection.execute(sa.insert(table.__table__), chunk)


def _trial(study_id: int, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "number": trial.number,
        "state": trial.state,
        "datetime_start": trial.datetime_start,
        "datetime_complete": trial.datetime_complete,
    }


def _params(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, distribution in trial.distributions.items():
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(trial.params[name]),
            "distribution_json": distribution_to_json(distribution),
        }


def _value(trial_id: int, trial: FrozenTrial) -> dict[str, Any]:
    value, kind = models.TrialValueModel.value_to_stored_repr(trial.values[0])
    return {"trial_id": trial_id, "objective": 0, "value": value, "value_type": kind}


def _lives(trial_id: int) -> dict[str, Any]:
    """A sign of life that does not grow old."""
    return {"trial_id": trial_id, "heartbeat": datetime.now() + timedelta(days=30)}


def _said(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, x in trial.system_attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(x)}
