"""Who runs a trial and when it was last heard of, as real workers leave it in a storage."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import threading
import time

from backends import opened
from backends import ROOT
from cheap_search import until
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
import sqlalchemy as sa

import storage
from storage import _process
from storage._process import NAME
from storage._process import Process
from storage.engines.attended import Attended
from storage.engines.processes import processes


WORKER = """
import sys, time
import optuna, storage

def objective(trial):
    storage.mark_worker(trial, ["0", "3"])
    time.sleep(600)

backend = storage.open(sys.argv[1], heartbeat=1, grace=60)
study = optuna.load_study(study_name="one", storage=backend)
study.optimize(objective)
"""


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(params=["sqlite", "journal", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return f"{request.param}:///{tmp_path}/study"


@pytest.fixture
def study(url: str) -> Iterator[optuna.Study]:
    with opened(url, heartbeat=1, grace=60) as backend:
        yield optuna.create_study(study_name="one", storage=backend)


def marked(study: optuna.Study, count: int = 1) -> list[FrozenTrial]:
    """The trials that run, once all of them say by whom."""
    found = study.get_trials(states=(TrialState.RUNNING,))
    return found if len([t for t in found if storage.worker_of(t)]) == count else []


def command(url: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", WORKER, url]


def test_workers_are_known_by_host_name_and_devices_and_heard_of_while_they_live(
    study: optuna.Study, url: str, tmp_path: Path
) -> None:
    with processes(command(url), 2, tmp_path / "logs") as engine:
        started = engine.start([0, 1])
        trials = until(lambda: marked(study, 2))
        workers = [worker for trial in trials if (worker := storage.worker_of(trial))]
        assert {worker.name for worker in workers} == {"0", "1"}
        assert {worker.host for worker in workers} == {socket.gethostname()}
        assert {worker.devices for worker in workers} == {("0", "3")}
        assert set(until(lambda: storage.heard(study))) <= {0, 1}
        until(lambda: len(heard := storage.heard(study)) == 2 and max(heard.values()) < 3)
        pid = workers[0].process.number
        os.kill(pid, signal.SIGKILL)
        until(lambda: any(worker.ended() for worker in started))
        is_quiet(study, trials[0].number, database=not url.startswith("journal"))
        engine.stop(started, 0.0, lambda: True)


def is_quiet(study: optuna.Study, number: int, database: bool) -> None:
    """A database remembers the last heartbeat, which gets older; without one nothing is known."""
    if database:
        until(lambda: storage.heard(study)[number] > 3)
    else:
        assert number not in storage.heard(study)


def test_a_trial_that_is_over_is_heard_of_no_more(study: optuna.Study) -> None:
    seen: list[dict[int, float]] = []

    def objective(trial: optuna.Trial) -> float:
        storage.mark_worker(trial)
        seen.append(until(lambda: storage.heard(study)))
        return 1.0

    study.optimize(objective, n_trials=1)
    assert [list(heard) for heard in seen] == [[0]] and storage.heard(study) == {}


def test_a_worker_of_a_job_has_the_job_s_name(
    study: optuna.Study, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "12_3")
    told: list[int] = []
    attended = Attended(command(url), tmp_path / "12_3")
    thread = threading.Thread(target=attended.run, args=(told,))
    thread.start()
    (trial,) = until(lambda: marked(study))
    told.append(signal.SIGTERM)
    thread.join()
    assert (worker := storage.worker_of(trial)) is not None and worker.name == "12_3"


def test_what_a_retry_copied_is_not_the_worker_s(tmp_path: Path) -> None:
    study = optuna.create_study()
    first = study.ask()
    storage.mark_worker(first, ["0"])
    study.enqueue_trial({}, user_attrs=study.trials[0].user_attrs)
    study.ask()
    assert [storage.worker_of(trial) is None for trial in study.trials] == [False, True]


def test_a_process_that_another_user_hides_is_not_known_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where /proc is mounted with hidepid."""

    def forbidden(number: int, sent: int) -> None:
        raise PermissionError

    other = Process.this()
    monkeypatch.setattr(os, "kill", forbidden)
    monkeypatch.setattr(_process, "Path", lambda name: tmp_path / name.strip("/"))
    assert other.is_here() and not other.is_gone()


def test_hosts_of_one_name_are_two_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their ids; a host without one, and a process of before they were kept, is as it was."""
    monkeypatch.setattr(_process, "_ID", tmp_path / "machine-id")
    before = Process.this()
    found = []
    for content in ("a" * 32, "b" * 32, "", "uninitialized"):
        (tmp_path / "machine-id").write_text(f"{content}\n")
        found.append(this := Process.this())
        assert this.is_here() and before.is_here() and not (this.is_gone() or before.is_gone())
    first, second, *without = found
    assert len({first.machine, second.machine, before.machine}) == 3
    assert without == [before, before] and "a" * 8 not in first.machine
    assert not (first.is_here() or first.is_gone())
    (tmp_path / "machine-id").write_text("b" * 32)
    ended = Process(first.machine, first.number, "0")  # another has the number here
    assert not ended.is_gone() and Process(second.machine, first.number, "0").is_gone()
    study = optuna.create_study()
    storage.mark_worker(study.ask())
    worker = storage.worker_of(study.trials[0])
    assert worker is not None and worker.host == socket.gethostname()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_may_have_a_name_of_any_bytes() -> None:
    code = "open('/proc/self/comm', 'wb').write(b'\\xff)'); print(); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as named:
        assert named.stdout is not None and named.stdout.readline()
        start = _process._start(named.pid)
        named.communicate(b"\n")
    assert start is not None and start.isdecimal()


@pytest.mark.parametrize("theirs", ["anna", "a:b:0:c", 7, None, ["gpu"]])
def test_an_attribute_of_the_user_s_own_names_no_worker(theirs: object) -> None:
    study = optuna.create_study()
    study.ask().set_user_attr("worker", theirs)
    assert storage.worker_of(study.trials[0]) is None
    assert storage.heard(study) == {} and storage.recover(study) == []


def test_studies_of_before_have_workers_without_a_name(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.ask().set_user_attr("worker", "node1/402:17:0:99")
    worker = storage.worker_of(study.trials[0])
    assert worker is not None and (worker.host, worker.process.number) == ("node1", 17)
    assert (worker.name, worker.devices) == ("", ())


def test_a_database_that_is_away_breaks_off_as_elsewhere(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        with sa.create_engine(f"sqlite:///{tmp_path}/study.db").begin() as connection:
            connection.exec_driver_sql("ALTER TABLE trial_heartbeats RENAME TO gone")
        with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
            storage.heard(study)
        assert storage.broke_off(caught.value)


def test_a_heartbeat_goes_on_when_the_database_is_back(tmp_path: Path) -> None:
    """An outage that is longer than any wait for a connection, to the thread of a trial."""
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url, heartbeat=1, grace=60) as backend, sa.create_engine(url).connect() as other:
        study = optuna.create_study(storage=backend)
        rename = "ALTER TABLE {} RENAME TO {}".format

        def objective(trial: optuna.Trial) -> float:
            until(lambda: storage.heard(study))
            other.exec_driver_sql(rename("trial_heartbeats", "gone"))
            time.sleep(2.5)
            other.exec_driver_sql(rename("gone", "trial_heartbeats"))
            until(lambda: storage.heard(study)[trial.number] < 1)
            return 1.0

        study.optimize(objective, n_trials=1)
