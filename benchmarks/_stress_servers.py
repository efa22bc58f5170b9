"""Storages of stress.py: files, and private servers in a folder, on free ports, that can crash."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import sys
import time

import sqlalchemy as sa


ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
POSTGRES = "OPTUNA_PARTITION_POSTGRES"
MYSQL = "OPTUNA_PARTITION_MYSQL"
_PROXY = (  # `get_storage` adds the cache, without which each read is one of the whole study
    "import sys, optuna, storage; optuna.storages.run_grpc_proxy_server("
    "optuna.storages.get_storage(storage.open(sys.argv[1])), "
    "host='127.0.0.1', port=int(sys.argv[2]))"
)
_SETUP = """\
CREATE DATABASE IF NOT EXISTS stress;
CREATE USER IF NOT EXISTS stress@'127.0.0.1';
GRANT ALL ON stress.* TO stress@'127.0.0.1';
"""


class Missing(RuntimeError):
    """There is no such server here; the message says how to get one."""


@dataclass(frozen=True)
class Server:
    """Where workers meet.

    Args:
        url: For `storage.open`.
        restart: Lets the server crash and starts it again; None for a file, and for a server that
            is not ours.
    """

    url: str
    restart: Callable[[], None] | None = None


class _Daemon:
    """A server process of ours."""

    def __init__(
        self, command: Sequence[object], folder: Path, port: int, user: str | None, crash: int
    ) -> None:
        self._command, self._folder, self._port = [str(word) for word in command], folder, port
        self._user, self._crash = user, crash
        self._start()

    def _start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for stress.py, which ends its servers
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            time.sleep(0.05)
        self.end()
        words = (self._folder / "log").read_text(errors="replace").strip()
        raise RuntimeError(f"{self._command[0]} does not start; its log ends:\n{words[-1000:]}")

    def end(self) -> None:
        self._process.send_signal(self._crash)
        self._process.wait()

    def restart(self) -> None:
        self.end()
        self._start()


@contextmanager
def _serving(
    url: str, command: Sequence[object], folder: Path, user: str | None, crash: int
) -> Iterator[Server]:
    port = sa.make_url(url).port
    assert port is not None
    daemon = _Daemon(command, folder, port, user, crash)
    try:
        if not url.startswith("grpc:"):
            _until_it_answers(url)
        yield Server(url, daemon.restart)
    finally:
        daemon.end()


def _until_it_answers(url: str) -> None:
    """A port may be open some time before the database behind it is ready."""
    engine = sa.create_engine(url)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            break
    engine.dispose()


@contextmanager
def _sqlite(folder: Path) -> Iterator[Server]:
    yield Server(f"sqlite:///{folder}/study.db")


@contextmanager
def _journal(folder: Path) -> Iterator[Server]:
    yield Server(f"journal:///{folder}/study.log")


@contextmanager
def _grpc(folder: Path) -> Iterator[Server]:
    """Optuna's proxy in front of an SQLite database; a crash is the proxy's."""
    port = _free_port()
    command = [sys.executable, "-W", "ignore", "-c", _PROXY]
    behind = f"sqlite:///{folder}/behind.db"
    url = f"grpc://127.0.0.1:{port}"
    with _serving(url, [*command, behind, port], folder, None, signal.SIGKILL) as server:
        yield server


@contextmanager
def _postgres(folder: Path) -> Iterator[Server]:
    given = os.environ.get(POSTGRES)
    if given:
        yield Server(given)
        return
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise Missing(f"no PostgreSQL: install it, or set {POSTGRES} to a database URL")
    user, port, data = _user("postgres", folder), _free_port(), folder / "data"
    _quietly([programs[-1] / "initdb", "-D", data, "-U", "stress", "--auth=trust"], user)
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]
    command = [programs[-1] / "postgres", "-D", data, "-p", port, "-k", folder, *settings]
    url = f"postgresql+psycopg://stress@127.0.0.1:{port}/postgres"
    # SIGQUIT: without a checkpoint, as in a power cut; the next start recovers from the log
    with _serving(url, command, folder, user, signal.SIGQUIT) as server:
        yield server


@contextmanager
def _mysql(folder: Path) -> Iterator[Server]:
    given = os.environ.get(MYSQL)
    if given:
        yield Server(given)
        return
    program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise Missing(f"no MariaDB: install it, or set {MYSQL} to a database URL")
    user, port, data = _user("mysql", folder), _free_port(), folder / "data"
    install = ["mariadb-install-db", f"--datadir={data}", "--skip-test-db"]
    _quietly([*install, "--auth-root-authentication-method=normal"], user)
    setup = folder / "setup.sql"
    setup.write_text(_SETUP)
    files = [f"--datadir={data}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    network = [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
    command = [
        program,
        "--no-defaults",
        *files,
        *network,
        f"--init-file={setup}",
        "--max-connections=300",
    ]
    url = f"mysql+pymysql://stress@127.0.0.1:{port}/stress"
    with _serving(url, command, folder, user, signal.SIGKILL) as server:
        yield server


def _user(name: str, folder: Path) -> str | None:
    """Databases refuse to run as root; whom to run as instead, who gets the folder."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, name)
    return name


def _quietly(command: Sequence[object], user: str | None) -> None:
    words = [str(word) for word in command]
    subprocess.run(words, user=user, check=True, stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


STORAGES = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    "mysql": _mysql,
    "journal": _journal,
    "grpc": _grpc,
}
"""Name -> context manager that takes a folder of its own and gives the server."""
