"""URLs that name a file which is no study: one message each, and nothing is made or changed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
import os
from pathlib import Path
import sqlite3
import subprocess
import sys
import tempfile

from backends import close
from backends import opened
from backends import ROOT
import optuna
import pytest

import storage


DATA = Path(__file__).parents[1] / "data"
KINDS = ("sqlite", "journal")


def text(path: Path) -> None:
    path.write_text("learning_rate = 0.1\n")


def words(path: Path) -> None:
    """As half a line of a journal, which a killed worker leaves."""
    path.write_text("notes")


def lines(path: Path) -> None:
    path.write_text('{"question": "?"}\n{"question": "!"}\n')


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def folder(path: Path) -> None:
    path.mkdir()


def accounts(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE accounts (name)")


def optuna_2(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript((DATA / "optuna_2_10.sql").read_text())


def journal(path: Path) -> None:
    with opened(f"journal:///{path}") as backend:
        optuna.create_study(storage=backend)


EXPECTED: dict[Callable[[Path], None], tuple[str, str | None]] = {
    text: ("file is not a database", "something else than a journal"),
    words: ("file is not a database", "something else than a journal"),
    lines: ("file is not a database", "something else than a journal"),
    binary: ("file is not a database", "something else than a journal"),
    folder: ("is a folder or a device", "is a folder or a device"),
    accounts: (
        "with tables such as accounts and none of Optuna's",
        "or sqlite:/// for a database",
    ),
    optuna_2: ("set up by optuna 2.10.1", "or sqlite:/// for a database"),
    journal: ("file is not a database", None),
}


def state(path: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in path.parent.iterdir()}


@pytest.mark.parametrize(
    ("make", "kind", "expected"),
    [
        pytest.param(make, kind, expected, id=f"{make.__name__}-{kind}")
        for make, messages in EXPECTED.items()
        for kind, expected in zip(KINDS, messages, strict=True)
        if expected is not None  # else it is a study
    ],
)
def test_what_is_no_study_is_one_message(
    make: Callable[[Path], None], kind: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "study"
    make(path)
    before = state(path)
    with pytest.raises(storage.StorageError) as caught:
        close(storage.open(f"{kind}:///{path}"))
    message = str(caught.value)
    assert expected in message and f"{kind}:///{path}" in message and "\n" not in message
    assert state(path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_becomes_a_study(kind: str, tmp_path: Path) -> None:
    """It is what SQLite and a journal are before their first line, and holds nothing to lose."""
    path = tmp_path / "study"
    path.touch()
    with opened(f"{kind}:///{path}") as backend:
        optuna.create_study(storage=backend)


def test_the_way_out_of_old_tables_works(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    optuna_2(path)
    with pytest.raises(storage.StorageError) as caught:
        storage.open(f"sqlite:///{path}")
    command = str(caught.value).split("`")[3].removeprefix("$ optuna ").split()
    subprocess.run(
        [Path(sys.executable).with_name("optuna"), *command], check=True, capture_output=True
    )
    with opened(f"sqlite:///{path}") as backend:
        assert len(optuna.load_study(study_name="one", storage=backend).trials) == 2


def test_tables_of_something_else_beside_a_study_s_are_let_be(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url) as backend:
        optuna.create_study(storage=backend, study_name="one")
    accounts(tmp_path / "study.db")
    with opened(url) as backend:
        optuna.load_study(study_name="one", storage=backend)


UNPRIVILEGED = """
import os, sys, storage
if os.getuid() == 0:
    os.setuid(65534)
for url in sys.argv[1:]:
    for what in storage.exists, storage.open:
        try:
            what(url)
        except storage.StorageError as error:
            print(error)
"""


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that every user may enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
        for below in Path(made).iterdir():
            below.chmod(0o755)


def test_a_place_without_permission_is_one_message(top: Path) -> None:
    """To read, to write, to write beside the file, and to enter."""
    names = [("unread", 0o200, 0o777), ("unwritten", 0o444, 0o777), ("beside", 0o666, 0o555)]
    names.append(("closed", 0o666, 0o444))
    urls = []
    for name, file_mode, mode in names:
        for kind in KINDS:
            file = top / name / kind
            file.parent.mkdir(exist_ok=True)
            file.touch()
            file.chmod(file_mode)
            urls.append(f"{kind}:///{file}")
        file.parent.chmod(mode)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNPRIVILEGED, *urls],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert len(said) == 2 * len(urls)
    for url, messages in zip(urls, zip(said[::2], said[1::2], strict=True), strict=True):
        assert all(url in message for message in messages)
        assert all("may not be written by this user" in message for message in messages)
