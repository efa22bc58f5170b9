"""storage.workers with small real processes: started, replaced, given up, stopped, never left."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

from optuna.exceptions import StorageInternalError
import pytest

from storage import _devices
from storage import workers
from storage._devices import accelerators
from storage._devices import groups
from storage._devices import indices
from storage._devices import worker_environment
from storage.engines import supervisor
from storage.engines.engine import Worker
from storage.engines.errors import EngineError
from storage.engines.processes import processes
from storage.engines.supervisor import Crew


ROOT = Path(__file__).parents[2]


def command(code: str) -> list[str]:
    """A worker; `here` is a folder that all of them see, `turn` the how-manieth one this is."""
    start = """
        import os, pathlib, signal, sys, time
        here = pathlib.Path(sys.argv[1])
        here.joinpath(f"{os.getpid()}.pid").touch()
        turn = len(list(here.glob("*.pid")))
    """
    return [sys.executable, "-c", textwrap.dedent(start) + textwrap.dedent(code)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bool, list[str]]]:
    """Runs workers; whether it was stopped, and what was said."""
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.1)

    def run(
        code: str, count: int, look: Callable[[], int] = lambda: 0, **settings: Any
    ) -> tuple[bool, list[str]]:
        said: list[str] = []
        stopped = workers.run(
            [*command(code), str(tmp_path)],
            count,
            logs=tmp_path / "logs",
            look=look,
            say=said.append,
            **settings,
        )
        return stopped, said

    return run


def pids(folder: Path) -> list[int]:
    return [int(file.stem) for file in folder.glob("*.pid")]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_ends_when_all_workers_have(run: Callable, tmp_path: Path) -> None:
    looks = iter(range(10**6))
    assert run("print('worker', turn)", 3, look=lambda: next(looks)) == (False, [])
    assert len(pids(tmp_path)) == 3
    texts = [(tmp_path / "logs" / f"{k}.log").read_text() for k in range(3)]
    assert all(text.startswith("worker") for text in texts)
    assert next(looks) > 1


def test_logs_of_earlier_workers_go_and_other_files_stay(run: Callable, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("0.log", "7.log", "study.log"):  # the last may be a study's journal
        (logs / name).write_text("old")
    run("pass", 1)
    assert {file.name: file.read_text() for file in logs.iterdir()} == {
        "0.log": "",
        "study.log": "old",
    }


def test_no_workers_are_refused(run: Callable) -> None:
    with pytest.raises(ValueError, match=r"`count >= 1` must hold, but got \(count=0\)"):
        run("pass", 0)


def test_a_worker_that_dies_is_started_again(run: Callable, tmp_path: Path) -> None:
    code = "turn == 1 and os.kill(os.getpid(), signal.SIGKILL); turn == 2 and sys.exit(7)"
    stopped, said = run(code, 1)
    assert not stopped and len(pids(tmp_path)) == 3
    assert "was killed by SIGKILL, started again" in said[0] and "exited 7" in said[1]


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no real-time signals here")
def test_a_signal_without_a_name_is_told_by_its_number(run: Callable) -> None:
    _, said = run("turn == 1 and os.kill(os.getpid(), signal.SIGRTMIN + 1)", 1)
    assert f"was killed by signal {signal.SIGRTMIN + 1}, started again" in said[0]


def test_while_the_storage_is_away_nobody_is_started(run: Callable, tmp_path: Path) -> None:
    """A worker dies of it as well: the next one would, too."""
    away = 0

    def look() -> int:
        nonlocal away
        if len(pids(tmp_path)) == 1 and away < 10:
            away += 1
            raise StorageInternalError("server closed the connection unexpectedly")
        assert away in (0, 10)
        return 0

    stopped, said = run("sys.exit(turn == 1)", 1, look=look)
    assert not stopped and len(said) == 1 and "exited 1" in said[0]
    assert away == 10 and len(pids(tmp_path)) == 2


def test_any_other_fault_of_a_look_ends_all(run: Callable, tmp_path: Path) -> None:
    def look() -> int:
        if pids(tmp_path):
            raise ZeroDivisionError
        return 0

    with pytest.raises(ZeroDivisionError):
        run("time.sleep(60)", 1, look=look)
    assert not any(alive(pid) for pid in pids(tmp_path))


def test_a_start_that_the_engine_refuses_later_on_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where SLURM's controller is busy just when a lost job is replaced."""
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "REFUSED_SECONDS", 0.3)
    code, said = [*command("sys.exit(7 if turn < 2 else 0)"), str(tmp_path)], list[str]()
    with processes(code, 1, tmp_path / "logs") as engine:
        crew, taken, refusals = Crew(engine, 1, said.append), engine.start, ["busy", "busy"]
        crew.start(0)

        def start(places: Sequence[int]) -> Sequence[Worker]:
            if refusals:
                raise EngineError(refusals.pop())
            return taken(places)

        monkeypatch.setattr(engine, "start", start)
        assert not crew.run(lambda: 0, [])
    assert said[1:] == ["busy; tried again in 0 s"] * 2 and len(pids(tmp_path)) == 2


def test_one_that_cannot_live_is_given_up_with_its_last_words(
    run: Callable, tmp_path: Path
) -> None:
    with pytest.raises(workers.WorkersFailed, match="no such device") as caught:
        run("sys.exit('no such device')", 1)
    assert not caught.value.mistake and len(pids(tmp_path)) == 3


@pytest.mark.parametrize(("early", "trials_finish"), [(0.0, False), (60.0, True)])
def test_without_a_trial_finished_or_too_young_it_was_not_well(
    run: Callable, tmp_path: Path, early: float, trials_finish: bool
) -> None:
    finished = iter(range(10**6))
    with pytest.raises(workers.WorkersFailed):
        run("sys.exit(1)", 1, look=lambda: next(finished) if trials_finish else 0, early=early)
    assert len(pids(tmp_path)) == 3


def test_deaths_between_finished_trials_are_not_in_a_row(run: Callable, tmp_path: Path) -> None:
    finished = iter(range(10**6))
    code = "time.sleep(0.5); sys.exit(turn < 6)"
    stopped, said = run(code, 1, look=lambda: next(finished), early=0.1)
    assert not stopped and len(said) == 5


def test_others_go_on_without_the_one_given_up(run: Callable, tmp_path: Path) -> None:
    code = "sys.exit(5 if os.readlink('/proc/self/fd/1').endswith('0.log') else 0)"
    stopped, said = run(code, 2)
    assert not stopped and "given up" in said[-1] and len(said) == 3


def test_a_mistake_is_not_tried_again(run: Callable, tmp_path: Path) -> None:
    with pytest.raises(workers.WorkersFailed) as caught:
        run("print('loading'); print('error: no such model\\nway out'); sys.exit(2)", 1)
    assert caught.value.mistake and str(caught.value) == "error: no such model\nway out"
    assert len(pids(tmp_path)) == 1


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_workers_in_their_own_way(
    run: Callable, tmp_path: Path, stop: signal.Signals
) -> None:
    before = signal.getsignal(stop)
    code = """
        def end(*_): here.joinpath(f"{os.getpid()}.ended").touch(); sys.exit(130)
        signal.signal(signal.SIGTERM, end)
        here.joinpath(f"{os.getpid()}.ready").touch()
        time.sleep(60)
    """
    sender = threading.Thread(
        target=lambda: (
            until(lambda: len(list(tmp_path.glob("*.ready"))) == 2),
            os.kill(os.getpid(), stop),
        )
    )
    sender.start()
    assert run(code, 2) == (True, [])
    sender.join()
    assert len(list(tmp_path.glob("*.ended"))) == 2
    assert not any(alive(pid) for pid in pids(tmp_path))
    assert signal.getsignal(stop) is before


def test_when_it_is_late_all_are_ended(run: Callable, tmp_path: Path) -> None:
    """Also those that hang, and it is no signal that has come."""
    code = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        here.joinpath(f"{os.getpid()}.ready").touch()
        time.sleep(600)
    """

    def late() -> bool:
        return len(list(tmp_path.glob("*.ready"))) == 2

    assert run(code, 2, late=late, stop=0.5) == (False, [])
    assert len(pids(tmp_path)) == 2 and not any(map(alive, pids(tmp_path)))


def test_one_that_does_not_end_is_killed_with_its_children(run: Callable, tmp_path: Path) -> None:
    code = """
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        here.joinpath(f"{child.pid}.pid").touch()
        here.joinpath("ready").touch()
        time.sleep(60)
    """
    sender = threading.Thread(
        target=lambda: (until((tmp_path / "ready").exists), os.kill(os.getpid(), signal.SIGINT))
    )
    sender.start()
    assert run(code, 1, stop=0.5) == (True, [])
    sender.join()
    until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    assert len(pids(tmp_path)) == 2


def test_workers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    polite = "workers.follow(); here.joinpath(f'{os.getpid()}.ready').touch(); time.sleep(60)"
    stubborn = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); workers.follow(grace=0.5); "
        "here.joinpath(f'{os.getpid()}.ready').touch(); time.sleep(60)"
    )
    for code in (polite, stubborn):
        worker = [*command(f"from storage import workers\n{code}"), str(tmp_path)]
        supervisor = (
            "import pathlib, sys; from storage import workers; "
            f"workers.run({worker!r}, 2, logs=pathlib.Path(sys.argv[1]), look=lambda: 0)"
        )
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", supervisor, tmp_path / "logs"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            until(lambda: len(list(tmp_path.glob("*.ready"))) == 2)
            assert len(pids(tmp_path)) == 2 and all(alive(pid) for pid in pids(tmp_path))
            process.kill()
        until(lambda: not any(alive(pid) for pid in pids(tmp_path)))
        for file in tmp_path.glob("*.*"):
            file.unlink()


# ---- devices ----


@pytest.mark.parametrize(
    ("devices", "count", "expected"),
    [
        ("", 2, [[], []]),
        ("0123", 4, [["0"], ["1"], ["2"], ["3"]]),
        ("01234567", 3, [["0", "1"], ["2", "3", "4"], ["5", "6", "7"]]),
        ("01", 3, [["0"], ["1"], ["0"]]),
    ],
)
def test_each_worker_has_a_group_of_devices(
    devices: Sequence[str], count: int, expected: list[list[str]]
) -> None:
    assert groups(list(devices), count) == expected


def test_devices_without_the_drivers_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_devices, "DEVICES", tmp_path)
    assert accelerators({}) == []
    for name in ("nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert accelerators({}) == ["0", "1"], "CUDA counts those that are here"
    assert indices(["GPU-1a", "2"]) == ["GPU-1a", "2"]


def test_devices_by_the_drivers_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "--query-gpu=index) printf '0\\n1\\n';;\n"
        "--query-gpu=index,uuid) printf '0, GPU-1a2b\\n1, GPU-1c3d\\n';;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert accelerators({}) == ["0", "1"]
    assert indices(["GPU-1c", "GPU-1a2b", "MIG-7"]) == ["1", "0", "MIG-7"]
    assert indices(["GPU-1"]) == ["GPU-1"], "of two the name says nothing"
    assert indices(["5"]) == ["5"]


def test_devices_that_are_set_are_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerators({"CUDA_VISIBLE_DEVICES": "GPU-1a, MIG-2b"}) == ["GPU-1a", "MIG-2b"]
    assert accelerators({"CUDA_VISIBLE_DEVICES": ""}) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    first, second = worker_environment(2)
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("3", "5")
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert int(first["OMP_NUM_THREADS"]) == share
    assert worker_environment(1) == [{}], "a worker alone has the machine"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" not in worker_environment(2)[0]
