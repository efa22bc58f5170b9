"""A trainer's processes end when they are to: told, killed with their worker, or left behind."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys
import time

from commands import ROOT
from commands import until
import pytest

from objectives.command import process
from objectives.command.process import running


TREE = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import os, sys, time; open('/proc/self/comm', 'wb').write(b'\\\\xff'); "  # no UTF-8
code += "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
for name, session in (("child", False), ("elsewhere", True)):
    subprocess.Popen([sys.executable, "-c", code, folder / name], start_new_session=session)
(folder / "first").write_text(str(os.getpid()))
while not all((folder / name).exists() for name in ("child", "elsewhere")):
    time.sleep(0.01)
(folder / "ready").touch()
if "leaves" not in sys.argv:
    time.sleep(600)
sys.exit(7)
"""
WORKER = """
import sys
from pathlib import Path
from objectives.command.process import running
folder = Path(sys.argv[1])
words = [sys.executable, folder / "tree.py", folder]
with running(words, home=folder, log=folder / "log.txt") as trainer:
    trainer.wait()
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A trainer with a child in its group, and one that is in no group of its own making."""
    (tmp_path / "tree.py").write_text(TREE)
    return [sys.executable, str(tmp_path / "tree.py"), str(tmp_path)]


def living(folder: Path) -> list[str]:
    """The names of those that still run."""
    pids = {name: (folder / name).read_text() for name in ("first", "child", "elsewhere")}
    return [name for name, pid in pids.items() if runs(pid)]


def runs(pid: str) -> bool:
    """A zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_all_of_them_end_with_the_block(words: list[str], tmp_path: Path) -> None:
    with running(words, home=tmp_path, log=tmp_path / "log.txt"):
        until((tmp_path / "ready").exists)
        assert len(living(tmp_path)) == 3
    assert living(tmp_path) == []


def test_one_that_does_not_listen_is_killed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.5)
    start = time.monotonic()
    with running([*words, "deaf"], home=tmp_path, log=tmp_path / "log.txt") as trainer:
        until((tmp_path / "ready").exists)
    assert living(tmp_path) == [] and trainer.returncode == 128 + signal.SIGKILL
    assert time.monotonic() - start > 0.5, "it had time to end by itself"


def test_what_a_trainer_leaves_behind_ends_with_it(words: list[str], tmp_path: Path) -> None:
    with running([*words, "leaves"], home=tmp_path, log=tmp_path / "log.txt") as trainer:
        assert trainer.wait(60) == 7
        assert living(tmp_path) == []


def test_a_killed_worker_leaves_nothing(words: list[str], tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], cwd=ROOT) as worker:
        until((tmp_path / "ready").exists)
        worker.kill()
    until(lambda: not living(tmp_path), 30)


def test_a_guard_that_is_told_to_end_ends_all(words: list[str], tmp_path: Path) -> None:
    with running(words, home=tmp_path, log=tmp_path / "log.txt") as trainer:
        until((tmp_path / "ready").exists)
        trainer.terminate()
        assert trainer.wait(60) == 128 + signal.SIGTERM
        assert living(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.abort()", 128 + signal.SIGABRT)],
)
def test_the_status_is_the_trainer_s(code: str, status: int, tmp_path: Path) -> None:
    words = [sys.executable, "-c", code]
    with running(words, home=tmp_path, log=tmp_path / "log.txt") as trainer:
        assert trainer.wait(60) == status


def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    with running(["./nothing"], home=tmp_path, log=tmp_path / "log.txt") as trainer:
        assert trainer.wait(60) == 127
    assert (tmp_path / "log.txt").read_text() == "./nothing: No such file or directory\n"
