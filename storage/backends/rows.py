"""Optuna's database with a quicker read: rows, where Optuna makes an object of each; no study.

A worker reads all trials when it joins, and at every ask those that ran at its last look and the
heartbeats of those that run. Trials and tables are Optuna's to the last field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from functools import lru_cache
import json
from typing import Any
from typing import final

from optuna.distributions import BaseDistribution
from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import sqlalchemy as sa


__all__ = ["RowStorage"]

_distribution = lru_cache(1024)(json_to_distribution)  # it is the same in all trials


def _param(distribution: str, value: float) -> tuple[BaseDistribution, Any]:
    decoded = _distribution(distribution)
    return decoded, decoded.to_external_repr(value)


@final
@dataclass(frozen=True)
class _Part:
    """What a table says of trials.

    Args:
        table: Optuna's model of it.
        key: The column that tells a trial's rows apart.
        columns: Those of the value.
        value: Makes the value of them.
    """

    table: Any
    key: str
    columns: tuple[str, ...]
    value: Callable[..., Any]

    def rows(self) -> sa.Select[Any]:
        """Trial, key and columns of all rows, in the order in which they were written."""
        table = self.table.__table__.c
        wanted = (table[name] for name in ("trial_id", self.key, *self.columns))
        return sa.select(*wanted).order_by(*self.table.__table__.primary_key)


_PARAMS = _Part(models.TrialParamModel, "param_name", ("distribution_json", "param_value"), _param)
_VALUES = _Part(
    models.TrialValueModel,
    "objective",
    ("value", "value_type"),
    models.TrialValueModel.stored_repr_to_value,
)
_REPORTS = _Part(
    models.TrialIntermediateValueModel,
    "step",
    ("intermediate_value", "intermediate_value_type"),
    models.TrialIntermediateValueModel.stored_repr_to_intermediate_value,
)
_USER = _Part(models.TrialUserAttributeModel, "key", ("value_json",), json.loads)
_SYSTEM = _Part(models.TrialSystemAttributeModel, "key", ("value_json",), json.loads)
_PARTS = (_PARAMS, _VALUES, _REPORTS, _USER, _SYSTEM)

_Said = Mapping[int, dict[Any, Any]]  # by trial: what a table says of it


class RowStorage(RDBStorage):
    """Optuna's storage with a grace period; reading is its own, and the care for heartbeats."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Left out while the database is away: an error would end the thread that keeps it."""
        with suppress(StorageInternalError):
            super().record_heartbeat(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """A dead worker's trial has ended with its last heartbeat, whenever that is noticed."""
        done = super().set_trial_state_values(trial_id, state, values)
        if state is TrialState.FAIL and self.grace_period is not None:
            with suppress(StorageInternalError):  # the trial has failed, which is what counts
                self._end_at_last_heartbeat(trial_id, timedelta(seconds=self.grace_period))
        return done

    def _end_at_last_heartbeat(self, trial_id: int, grace: timedelta) -> None:
        heartbeat = models.TrialHeartbeatModel.__table__.c
        signs = sa.select(heartbeat.heartbeat, sa.func.now()).where(heartbeat.trial_id == trial_id)
        with _create_scoped_session(self.scoped_session) as session:
            for last, now in session.execute(signs):
                silent = now.replace(tzinfo=None) - last  # by the clock of the database
                if silent > grace:
                    trial = models.TrialModel.find_or_raise_by_id(trial_id, session)
                    trial.datetime_complete -= silent

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Trials of a study: those after one of them, and those named, which may have changed.

        The states are read first, so that of an ended trial everything is read: nothing is written
        to it later. What is read of trials that began meanwhile is left out.
        """
        wanted = _wanted(study_id, included_trial_ids, trial_id_greater_than)
        trial = models.TrialModel.__table__.c
        heads = sa.select(
            *(trial.trial_id, trial.number, trial.state),
            *(trial.datetime_start, trial.datetime_complete),
        )
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            found = session.execute(heads.where(wanted).order_by(trial.trial_id)).all()
            said = [_said(session, part, wanted) if found else {} for part in _PARTS]
        return [_frozen(row, *said) for row in found if states is None or row.state in states]

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Running trials that showed no sign of life for too long, as every ask wants to know."""
        assert self.grace_period is not None
        trial, heartbeat = models.TrialModel.__table__, models.TrialHeartbeatModel.__table__
        signs = (
            sa.select(trial.c.trial_id, heartbeat.c.heartbeat)
            .join(heartbeat, trial.c.trial_id == heartbeat.c.trial_id)
            .where(trial.c.study_id == study_id, trial.c.state == TrialState.RUNNING)
        )
        with _create_scoped_session(self.scoped_session) as session:
            now = session.execute(sa.select(sa.func.now())).scalar_one().replace(tzinfo=None)
            last = session.execute(signs).all()
            oldest = now - timedelta(seconds=self.grace_period)
            return [trial_id for trial_id, at in last if at < oldest]


def _wanted(study_id: int, named: set[int], after: int) -> sa.ColumnElement[bool]:
    trial = models.TrialModel.__table__.c
    in_study: sa.ColumnElement[bool] = trial.study_id == study_id
    if after < 0:
        return in_study
    # in the text of the statement, for databases limit the number of its parameters
    earlier: sa.BindParameter[Any] = sa.bindparam(
        "earlier",
        sorted(i for i in named if i <= after),
        expanding=True,
        literal_execute=True,
    )
    return sa.and_(in_study, sa.or_(trial.trial_id > after, trial.trial_id.in_(earlier)))


def _said(session: Any, part: _Part, wanted: sa.ColumnElement[bool]) -> _Said:
    said: dict[int, dict[Any, Any]] = defaultdict(dict)
    trials = models.TrialModel.__table__
    joined = trials.c.trial_id == part.table.__table__.c.trial_id
    for trial_id, key, *columns in session.execute(part.rows().join(trials, joined).where(wanted)):
        said[trial_id][key] = part.value(*columns)
    return said


def _frozen(
    row: Any, params: _Said, values: _Said, reports: _Said, user: _Said, system: _Said
) -> FrozenTrial:
    of = row.trial_id
    searched = params.get(of, {})
    reached = values.get(of, {})
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[reached[i] for i in range(len(reached))] or None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={name: value for name, (_, value) in searched.items()},
        distributions={name: distribution for name, (distribution, _) in searched.items()},
        user_attrs=user.get(of, {}),
        system_attrs=system.get(of, {}),
        intermediate_values=reports.get(of, {}),
        trial_id=of,
    )


def _local(utc: datetime | None) -> datetime | None:
    """A time as Optuna shows it: in the database it is in UTC."""
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
