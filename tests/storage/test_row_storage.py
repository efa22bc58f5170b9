"""What is read as rows is what Optuna reads, to the last field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from datetime import timedelta
import math
from typing import Any

from backends import close
from backends import opened
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import fail_stale_trials
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
import sqlalchemy as sa

from storage.backends.rows import RowStorage


INF, NAN = math.inf, math.nan
PARAMS: dict[str, Any] = {"rate": 3e-5, "x": -0.1, "half": 1.5, "n": 3, "rank": 64, "c": None}
SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-6, 1e-2, log=True),
    "x": FloatDistribution(-0.1, 0.2),
    "half": FloatDistribution(0, 2, step=0.5),
    "n": IntDistribution(1, 9, step=2),
    "rank": IntDistribution(1, 256, log=True),
    "c": CategoricalDistribution((None, True, "ü", 2, 2.5)),
}
SAID: dict[str, Any] = {
    "words": "größer",
    "nested": {"a": [1, None, {"b": 0.1}]},
    "long": "x" * 5000,
}


@pytest.fixture
def storages(empty_database: str) -> Iterator[tuple[RowStorage, RDBStorage]]:
    """Ours, and Optuna's own on the same tables, which hold what trials can say."""
    with opened(empty_database) as ours:
        assert isinstance(ours, RowStorage)
        theirs = RDBStorage(empty_database)
        try:
            fill(optuna.create_study(storage=theirs, study_name="one"))
            two = optuna.create_study(
                storage=theirs, study_name="two", directions=["minimize", "maximize"]
            )
            params = {"x": 0.1}
            two.add_trial(create_trial(values=[INF, 2.5], params=params, distributions=only("x")))
            fill(optuna.load_study(storage=theirs, study_name="one"))
            yield ours, theirs
        finally:
            close(theirs)


def only(*names: str) -> dict[str, BaseDistribution]:
    return {name: SPACE[name] for name in names}


def fill(study: optuna.Study) -> None:
    """Trials that ended in every way, with and without all that there is, and some that run."""
    for value in (1.0, INF, -INF, 1e-300):
        study.add_trial(
            create_trial(value=value, params=PARAMS, distributions=SPACE, user_attrs=SAID)
        )
    reports = {0: 0.5, 10: INF, 2: -INF, 7: NAN}
    study.add_trial(
        create_trial(state=TrialState.PRUNED, intermediate_values=reports, system_attrs=SAID)
    )
    study.enqueue_trial({"x": 0.1}, user_attrs={"why": "known"})
    study.enqueue_trial({})
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, None):
        trial = study.ask(only("x", "c"))
        trial.report(0.25, 3)
        trial.set_constraint("memory", -1.5)
        trial.set_user_attr("changed", 1)
        trial.set_user_attr("changed", 2)
        trial.suggest_int("n", 1, 9, step=2)
        if state is not None:
            study.tell(trial, 0.0 if state is TrialState.COMPLETE else None, state)
    study.enqueue_trial({"x": 0.2})


def fields(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """All that there is to a trial; what is no number is equal to itself."""
    return [
        {**vars(t), "intermediate_values": {k: repr(x) for k, x in t.intermediate_values.items()}}
        for t in trials
    ]


def test_trials_are_what_optuna_reads(storages: tuple[RowStorage, RDBStorage]) -> None:
    """All of a study, those of some states, and at a later look what is new and what ran."""
    ours, theirs = storages
    one, two = (ours.get_study_id_from_name(name) for name in ("one", "two"))
    for study_id, n in ((one, 19), (two, 1)):
        read, same = ours.get_all_trials(study_id), theirs.get_all_trials(study_id)
        assert len(read) == n
        assert fields(read) == fields(same)
        assert [kinds(trial) for trial in read] == [kinds(trial) for trial in same]
    for states in ((TrialState.RUNNING,), (TrialState.FAIL, TrialState.WAITING)):
        read = ours.get_all_trials(one, states=states)
        assert read and fields(read) == fields(theirs.get_all_trials(one, states=states))
    ids = [trial._trial_id for trial in ours.get_all_trials(one)]
    for named in (set(), {ids[1]}, {ids[0], ids[3], ids[-1]}):
        for after in (ids[4], ids[-1], -1):
            read = ours._get_trials(one, None, named, after)
            assert fields(read) == fields(theirs._get_trials(one, None, named, after))
    assert [t._trial_id for t in ours._get_trials(one, None, {ids[1]}, ids[-1])] == [ids[1]]


def kinds(trial: FrozenTrial) -> list[tuple[str, type]]:
    """Parameters in their order, and of what type each is: 1 is equal to True."""
    return [(name, type(x)) for name, x in trial.params.items()]


def test_no_number_of_trials_is_too_large_for_a_statement(
    storages: tuple[RowStorage, RDBStorage],
) -> None:
    """PostgreSQL takes 65,535 parameters, SQLite 32,766; enqueued trials wait as they like."""
    ours, theirs = storages
    study_id = ours.get_study_id_from_name("one")
    read = ours._get_trials(study_id, None, set(range(70_000)), 70_000)
    assert fields(read) == fields(ours.get_all_trials(study_id))
    for storage in (ours, theirs):
        with pytest.raises(KeyError, match="Record does not exist"):
            storage.get_all_trials(77)


def test_the_dead_are_whom_optuna_finds(storages: tuple[RowStorage, RDBStorage]) -> None:
    """Of two trials that run, one has shown no sign of life for years."""
    ours, theirs = storages
    theirs.heartbeat_interval, theirs.grace_period = 30, 180
    study_id = ours.get_study_id_from_name("one")
    dead, alive = (
        t._trial_id for t in ours.get_all_trials(study_id, states=(TrialState.RUNNING,))
    )
    ours.record_heartbeat(alive)
    ours.record_heartbeat(dead)
    assert ours._get_stale_trial_ids(study_id) == theirs._get_stale_trial_ids(study_id) == []
    long_ago = datetime(2020, 1, 1)
    with ours.engine.begin() as connection:
        table = models.TrialHeartbeatModel
        connection.execute(sa.update(table).filter_by(trial_id=dead).values(heartbeat=long_ago))
    assert ours._get_stale_trial_ids(study_id) == theirs._get_stale_trial_ids(study_id) == [dead]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_whose_worker_died_ended_with_its_last_heartbeat(empty_database: str) -> None:
    """And not when somebody came to notice it, days later; one that lives ends when it says so."""
    weekend = timedelta(days=3)
    with opened(empty_database) as backend:
        assert isinstance(backend, RowStorage)
        study = optuna.create_study(storage=backend)
        dead, alive = (study.ask()._trial_id for _ in range(2))
        for trial_id in (dead, alive):
            backend.record_heartbeat(trial_id)
        with backend.engine.begin() as connection:
            for model, name in (
                (models.TrialModel, "datetime_start"),
                (models.TrialHeartbeatModel, "heartbeat"),
            ):
                table: Any = model.__table__
                rows = sa.select(table.c[name]).filter_by(trial_id=dead)
                then = connection.execute(rows).scalar_one() - weekend
                moved = sa.update(table).filter_by(trial_id=dead).values({name: then})
                connection.execute(moved)
        fail_stale_trials(study)
        study.tell(1, state=TrialState.FAIL)
        for trial in study.trials[:2]:
            assert trial.state is TrialState.FAIL and trial.duration is not None
            assert timedelta(0) <= trial.duration < timedelta(minutes=5)
