"""A worker with a supervisor of its own, as a job or an actor has it; no engine is needed."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

from cheap_search import until
import pytest

from storage.engines import attended
from storage.engines import supervisor
from storage.engines.attended import Attended
from storage.engines.attended import LOG
from storage.engines.attended import status
from storage.engines.attended import STOPPED


LONG = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def end(*_):
    here.joinpath("ended").open("a").write("x")
    time.sleep(0.5)
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
here.joinpath("ready").touch()
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.1)


def command(code: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", code, str(folder)]


@pytest.mark.parametrize(
    ("code", "expected", "turns"),
    [("", 0, 1), ("exit(2)", 2, 1), ("exit(7)", 1, 3), ("exit(7 if turn < 3 else 0)", 0, 3)],
)
def test_its_status_is_the_worker_s(tmp_path: Path, code: str, expected: int, turns: int) -> None:
    count = "turn = open(sys.argv[1] + '/turns', 'a+'); turn.write('x'); turn = turn.tell()"
    folder = tmp_path / "one"
    worker = Attended(command(f"import sys; {count}; {code}", tmp_path), folder)
    assert worker.run([]) == expected == status(folder)
    assert len((tmp_path / "turns").read_text()) == turns


def test_told_to_end_it_tells_its_worker(tmp_path: Path) -> None:
    told: list[int] = []
    worker = Attended(command(LONG, tmp_path), tmp_path)
    teller = threading.Thread(
        target=lambda: (until((tmp_path / "ready").exists), told.append(signal.SIGTERM))
    )
    teller.start()
    assert worker.run(told) == STOPPED == status(tmp_path)
    teller.join()
    assert (tmp_path / "ended").read_text() == "x"


def test_a_worker_that_has_heard_of_it_is_not_told_again(tmp_path: Path) -> None:
    """A second signal would end it in the middle of writing its trial down."""
    told: list[int] = []

    def tell() -> None:
        until((tmp_path / "ready").exists)
        told.append(signal.SIGTERM)
        (child,) = subprocess.check_output(
            ["pgrep", "-P", str(os.getpid()), "-f", "ready"]
        ).split()
        os.kill(int(child), signal.SIGTERM)

    teller = threading.Thread(target=tell)
    teller.start()
    assert Attended(command(LONG, tmp_path), tmp_path).run(told, by_itself=20) == STOPPED
    teller.join()
    assert (tmp_path / "ended").read_text() == "x"


def test_signals_for_the_supervisor_alone_do_not_reach_the_worker(tmp_path: Path) -> None:
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGUSR2); time.sleep(0.2)"
    deaf = [signal.SIGUSR2]
    assert Attended(command(code, tmp_path), tmp_path / "deaf", deaf).run([]) == 0
    assert Attended(command(code, tmp_path), tmp_path, strikes=1).run([]) == 1
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_log_goes_on_when_a_job_is_queued_again(tmp_path: Path) -> None:
    for _ in range(2):
        assert Attended(command("print('once')", tmp_path), tmp_path).run([]) == 0
    assert (tmp_path / LOG).read_text() == "once\nonce\n"


def test_it_was_well_when_it_lived_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there knows of trials: deaths far apart are not in a row, and 2 is a death then."""
    monkeypatch.setattr(attended, "WELL_SECONDS", 0.5)
    count = "t = open(sys.argv[1] + '/turns', 'a+'); t.write('x'); turn = t.tell(); t.close()"
    code = f"import sys, time; {count}; time.sleep(1.2); exit(2 if turn < 5 else 0)"
    start = time.monotonic()
    assert Attended(command(code, tmp_path), tmp_path).run([]) == 0
    assert time.monotonic() - start > 5 and len((tmp_path / "turns").read_text()) == 5
