"""Opening storages: every kind, by many at once, and with a message where it cannot be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import socket
import struct
import subprocess
import sys
import threading

from backends import close
from backends import opened
from backends import python
from backends import ROOT
import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import GrpcStorageProxy
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
import pytest
import sqlalchemy as sa
import yaml

from benchmarks._stress_run import serving
from benchmarks._stress_servers import Missing
from benchmarks._stress_servers import POSTGRES
import storage
from storage._process import NAME
from storage.backends import rdb
from storage.backends.sqlite import network_file_system


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def refused(url: str) -> str:
    with pytest.raises(storage.StorageError) as caught:
        close(storage.open(url))
    return str(caught.value)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


# ---- every kind ----


def test_sqlite_has_a_write_ahead_log_a_heartbeat_and_patience(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        assert isinstance(backend, RDBStorage)
        assert backend.get_heartbeat_interval() == 30
        with backend.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


def test_a_journal_is_shared_by_its_file(tmp_path: Path) -> None:
    url = f"journal:///{tmp_path}/study.log"
    assert not storage.exists(url)
    with opened(url) as backend:
        assert isinstance(backend, JournalStorage)
        optuna.create_study(storage=backend, study_name="one")
    assert storage.exists(url)
    with opened(url) as again:
        assert [s.study_name for s in again.get_all_studies()] == ["one"]


def test_a_proxy_in_front_of_a_database(tmp_path: Path) -> None:
    code = (
        "import sys, optuna, storage; optuna.storages.run_grpc_proxy_server("
        "optuna.storages.get_storage(storage.open(sys.argv[1])), host='127.0.0.1', "
        "port=int(sys.argv[2]))"
    )
    port = free_port()
    with python(code, f"sqlite:///{tmp_path}/behind.db", str(port)) as server:
        try:
            with opened(f"grpc://127.0.0.1:{port}") as backend:
                assert isinstance(backend, GrpcStorageProxy)
                optuna.create_study(storage=backend, study_name="one")
        finally:
            server.kill()
    with opened(f"sqlite:///{tmp_path}/behind.db") as behind:
        assert [s.study_name for s in behind.get_all_studies()] == ["one"]


def test_workers_start_at_once_on_an_empty_database(empty_database: str) -> None:
    code = (
        "import sys, optuna, storage; print('ready', flush=True); sys.stdin.readline(); "
        "study = optuna.create_study(storage=storage.open(sys.argv[1]), study_name='one', "
        "load_if_exists=True); study.add_trial(optuna.trial.create_trial(value=1.0))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, empty_database],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for worker in workers:  # all have imported, and begin at once
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    errors = [worker.communicate(timeout=300)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, "\n".join(errors)
    with opened(empty_database) as backend:
        assert len(optuna.load_study(study_name="one", storage=backend).trials) == 4


# ---- messages ----


def test_what_cannot_be_opened_is_one_message() -> None:
    assert "must be a database URL" in refused("study.db")
    assert "its port a number" in refused("grpc://host:port")
    port = refused("postgresql+psycopg://user:secret@host:54x/name")
    assert "its port a number" in port and "user:***@host:54x" in port and "secret" not in port
    assert "no folder /no/such" in refused("sqlite:////no/such/study.db")
    assert "no folder /no/such" in refused("journal:////no/such/study.log")
    assert "a journal needs a file" in refused("journal://")
    assert "shared would be a host" in refused("journal://shared/study.log")
    assert "in memory" in refused("sqlite://") and "in memory" in refused("sqlite:///:memory:")
    assert "needs host and port" in refused("grpc://node1")
    assert "no such kind of storage" in refused("oracel://name@host/database")
    missing = refused("mysql+mysqldb://name:secret@host/database")
    assert "the driver mysqldb is missing" in missing and '"optuna-partition[mysql]"' in missing
    assert "secret" not in missing
    nobody = refused(f"postgresql+psycopg://name:secret@127.0.0.1:{free_port()}/database")
    assert "cannot be opened" in nobody and "secret" not in nobody


def test_a_path_is_no_url(tmp_path: Path) -> None:
    assert f"got ('{tmp_path}/study.db')" in refused(tmp_path / "study.db")


def test_a_grace_shorter_than_the_heartbeat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`grace > heartbeat` .*\(heartbeat=60, grace=30\)"):
        storage.open(f"sqlite:///{tmp_path}/study.db", heartbeat=60, grace=30)


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.backends.grpc.ANSWER_SECONDS", 0.5)
    assert "no proxy answers within 0.5 s" in refused(f"grpc://127.0.0.1:{free_port()}")


def test_without_grpcio_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)  # as an import of what is not installed
    assert 'pip install "optuna-partition[grpc]"' in refused("grpc://127.0.0.1:13000")


class Full(InMemoryStorage):
    """Takes no end of a trial, as a database on a full disk."""

    ended = False

    def set_trial_state_values(self, *_: object, **__: object) -> bool:
        self.ended = True
        raise StorageInternalError("the commit") from OSError("disk is full")


class Gone(Full):
    """Nor says afterwards what it has, as a server that is gone."""

    def get_trial(self, trial_id: int) -> optuna.trial.FrozenTrial:
        if self.ended:
            raise StorageInternalError("the query") from OSError("disk is full")
        return super().get_trial(trial_id)


@pytest.mark.parametrize(("broken", "raised"), [(Full, AssertionError), (Gone, UnboundLocalError)])
def test_what_optuna_makes_of_a_full_disk_is_a_storage_that_broke_off(
    broken: type[Full], raised: type[Exception]
) -> None:
    """It takes for granted that a trial whose end it could not tell has ended."""
    study = optuna.create_study(storage=broken())
    with pytest.raises(raised) as caught:
        study.optimize(lambda trial: 1.0, n_trials=1)
    assert storage.broke_off(caught.value)
    assert storage.reason(caught.value, "sqlite://") == "disk is full"
    assert not storage.broke_off(raised("of something else"))


def test_a_password_is_not_shown() -> None:
    url = "postgresql+psycopg://name:secret@host/database"
    assert "secret" not in storage.shown(url) and "host/database" in storage.shown(url)


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite:///día.db?timeout=3", "journal:////a b/50%:x.log"]
)
def test_a_path_is_shown_as_it_was_written(url: str) -> None:
    assert storage.shown(url) == url


def test_a_refusal_has_the_path_as_it_was_written() -> None:
    for url in ("sqlite:///:memory:", "sqlite:///no:such/día.db", "journal:///no:such/día.log"):
        assert refused(url).startswith(f"`storage` = {url}: ")


def test_a_database_in_memory_is_private() -> None:
    private = ["sqlite://", "sqlite:///:memory:", "sqlite:///study.db", "grpc://host:1"]
    assert [storage.private(url) for url in private] == [True, True, False, False]


MOUNTS = r"""overlay / overlay rw,relatime 0 0
server:/export /home nfs4 rw,vers=4.2 0 0
/dev/nvme0n1 /home/local ext4 rw 0 0
//server/share /mnt/my\040files cifs rw 0 0
user@host: /mnt/far fuse.sshfs rw 0 0
10.0.0.1@tcp:/scratch /scratch lustre rw 0 0
/dev/sdb /scratch/local ext4 rw 0 0
server:/late /scratch/local nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/srv/study.db", None),
        ("/home/me/study.db", "nfs4"),
        ("/home/local/study.db", None),
        ("/homes/study.db", None),
        ("/mnt/my files/study.db", "cifs"),
        ("/mnt/far/study.db", "fuse.sshfs"),
        ("/scratch/a/b/study.db", "lustre"),
        ("/scratch/local/study.db", "nfs"),
    ],
)
def test_the_kind_of_a_files_network_file_system(file: str, kind: str | None) -> None:
    assert network_file_system(Path(file), MOUNTS) == kind


def test_where_there_is_no_table_nothing_is_refused() -> None:
    assert network_file_system(Path("/srv/study.db"), "") is None


def test_sqlite_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    other = b"server:/o /mnt/\xe9t\xe9 nfs rw 0 0\n"  # in Latin-1
    mounts.write_bytes(other + f"server:/export {tmp_path} nfs rw 0 0\n".encode())
    monkeypatch.setattr("storage.backends.sqlite.MOUNTS", mounts)
    message = refused(f"sqlite:///{tmp_path}/study.db")
    assert "network file system (nfs)" in message and "journal:///" in message
    assert not (tmp_path / "study.db").exists()
    with opened(f"journal:///{tmp_path}/study.log") as backend:  # whose lock holds there
        assert isinstance(backend, JournalStorage)


# ---- compose.yaml ----


def test_the_compose_file_installs_what_was_tested() -> None:
    services = yaml.safe_load((ROOT / "storage" / "compose.yaml").read_text())["services"]
    assert set(services) == {"postgres", "dashboard"}
    build = services["dashboard"]["build"]["dockerfile_inline"]
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert f"optuna=={pins['optuna']} " in build
    assert f"optuna-dashboard=={pins['optuna-dashboard']}" in build
    assert f"psycopg[binary]=={pins['psycopg']}" in build
    url = sa.make_url(services["dashboard"]["command"][-1].replace("${POSTGRES_PASSWORD}", "x"))
    settings = services["postgres"]["environment"]
    assert url.host == "postgres" and url.database == settings["POSTGRES_DB"]
    assert url.username == settings["POSTGRES_USER"]


def starting_up(listener: socket.socket, refusals: list[str]) -> None:
    """A PostgreSQL that comes up: says so to each that calls, in PostgreSQL's protocol."""
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        with caller:
            if struct.unpack("!ii", caller.recv(1024)[:8])[1] in (80877103, 80877104):  # TLS, GSS
                caller.sendall(b"N")
                caller.recv(1024)
            refusals.append("starting up")  # before the caller can know of it
            caller.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)


def test_a_database_that_is_starting_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdb, "_RESTART_ATTEMPTS", 4)
    refusals: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=starting_up, args=(listener, refusals), daemon=True).start()
        port = listener.getsockname()[1]
        url = f"postgresql+psycopg://a@127.0.0.1:{port}/b?sslmode=disable&gssencmode=disable"
        with pytest.raises(storage.StorageError, match="starting up"):
            storage.open(url)
        listener.shutdown(socket.SHUT_RDWR)
    assert len(refusals) == 4


@pytest.mark.skipif(not os.environ.get(POSTGRES), reason=f"no server: set {POSTGRES}")
def test_a_worker_that_begins_waits_for_a_server_that_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever starts a search is told at once that there is none: he may have mistyped it."""
    monkeypatch.delenv(POSTGRES)  # another one, which may crash
    try:
        with serving("postgres") as server, ThreadPoolExecutor() as pool:
            assert server.restart is not None
            monkeypatch.setenv(NAME, "1")
            again = pool.submit(server.restart)
            while not again.done():
                found = storage.open(server.url)
                assert isinstance(found, RDBStorage)
                found.engine.dispose()
            again.result()
    except Missing as missing:
        pytest.skip(f"no server that may crash: {missing}")
