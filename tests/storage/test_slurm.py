"""storage.engines.slurm on a real SLURM: every way a job may end, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
import uuid

from backends import opened
from cheap_search import all_wait
from cheap_search import check_nothing_is_lost
from cheap_search import in_state
from cheap_search import open_gate
from cheap_search import process
from cheap_search import REPORT
from cheap_search import SEARCH
from cheap_search import TRIALS
from cheap_search import until
import optuna
from optuna.trial import TrialState
import pytest

import storage
from storage.engines.engine import End
from storage.engines.errors import EngineError
from storage.engines.slurm import Slurm
from storage.engines.slurm_options import minutes
from storage.engines.slurm_options import sbatch_options
from storage.engines.supervisor import Crew
from storage.engines.supervisor import WorkersFailed


ROOT = Path(__file__).parents[2]
SLURM = "OPTUNA_PARTITION_SLURM"
needs_slurm = pytest.mark.skipif(
    not os.environ.get(SLURM), reason=f"no SLURM: set {SLURM} to a partition"
)

GIVES_WAY = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def end(*_):
    here.joinpath("ended").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
if here.joinpath("ready").exists():
    sys.exit(0)
here.joinpath("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Slurm]]:
    """Makes an engine for a command; no job of it is left."""
    name = f"tests-{uuid.uuid4().hex[:8]}"

    def engine(*command: str) -> Slurm:
        options = {"partition": os.environ[SLURM], "time": "00:10:00"}
        code = [sys.executable, "-W", "ignore", "-c", *command]
        return Slurm(name, code, tmp_path / "jobs", options, poll=0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield engine
    subprocess.run(["scancel", f"--name={name}"], check=True)


def job_of(pid: int) -> str:
    """As SLURM numbers it, from its environment."""
    found = dict(
        entry.split("=", 1)
        for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if "=" in entry
    )
    return f"{found['SLURM_ARRAY_JOB_ID']}_{found['SLURM_ARRAY_TASK_ID']}"


def log_of(job: str, folder: Path) -> Path:
    return folder / "jobs" / f"{job}_0_log.out"


@needs_slurm
def test_whatever_befalls_the_jobs_no_point_is_lost_or_repeated(
    engine: Callable[..., Slurm], postgres: str, tmp_path: Path
) -> None:
    """A worker is killed, a job cancelled, another queued again; a second call attaches."""
    report = tmp_path / "report"
    gate = tmp_path / "gate"
    command = (SEARCH, postgres, str(TRIALS), str(gate))
    slurm = engine(*command)
    with opened(postgres) as backend:
        study = optuna.create_study(study_name="one", storage=backend)
        slurm.start(range(3))
        last = slurm.start_last([sys.executable, "-c", REPORT, str(report)])
        processes = [process(trial) for trial in until(lambda: all_wait(study, 3))]
        killed, cancelled, requeued = jobs = [job_of(worker) for worker in processes]
        assert {worker.name for trial in study.trials if (worker := storage.worker_of(trial))} == {
            *jobs
        }
        os.kill(processes[0], signal.SIGKILL)
        subprocess.run(["scancel", cancelled], check=True)
        requeue(requeued)
        log = log_of(requeued, tmp_path)
        until(lambda: log.read_text().count("Starting with JobEnvironment") == 2)
        said: list[str] = []
        attached = engine(*command)
        crew = Crew(attached, 3, said.append)
        assert not crew.adopt(attached.found(), 0) and len(crew.workers) == 2
        assert not report.exists(), "before the workers have ended"
        open_gate(gate, processes)
        assert not crew.run(lambda: len(in_state(study, TrialState.COMPLETE)), [])
        ended = until(lambda: (slurm.look(), last.ended())[1])
        assert ended.end is End.DONE and report.read_text() == "made"
        assert last.output.read_text() == "the report\n"
        check_nothing_is_lost(study, faults=3, workers=3)
    assert "worker 0 was killed by SIGKILL, started again" in log_of(killed, tmp_path).read_text()
    assert slurm.found() == [] and not slurm.found_last(begun=True)


@needs_slurm
def test_more_trials_have_a_last_one_of_their_own_once_that_before_has_begun(
    engine: Callable[..., Slurm], tmp_path: Path
) -> None:
    """A final test that runs knows nothing of them; another one comes after it."""
    slurm, gate, report = engine(""), tmp_path / "gate", tmp_path / "report"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.1)"
    first = slurm.start_last([sys.executable, "-c", code])
    until(lambda: not slurm.found_last(begun=False))
    assert [each.output for each in slurm.found_last(begun=True)] == [first.output]
    last = slurm.start_last([sys.executable, "-c", REPORT, str(report)])
    assert len(slurm.found_last(begun=False)) == 1 and len(slurm.found_last(begun=True)) == 2
    time.sleep(3)
    assert not report.exists()
    gate.touch()
    ended = until(lambda: (slurm.look(), last.ended())[1])
    assert ended.end is End.DONE and report.exists() and not slurm.found_last(begun=True)


def requeue(job: str) -> None:
    subprocess.run(["scontrol", "requeue", job], check=True)
    until(lambda: "PENDING" in state(job))
    start_soon(job)


def start_soon(job: str) -> None:
    """One that was queued again waits for two minutes.

    In the second in which it ended, its node would refuse it as killed already.
    """
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now+3"], check=True)


def state(job: str) -> str:
    command = ["squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_slurm
def test_a_job_that_must_give_way_ends_its_worker_first(
    engine: Callable[..., Slurm], tmp_path: Path
) -> None:
    """As SLURM tells it before its time is over; the worker does not hear of it but by SIGTERM."""
    slurm = engine(GIVES_WAY, str(tmp_path))
    (worker,) = slurm.start([0])
    until((tmp_path / "ready").exists)
    job = worker.number
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    until((tmp_path / "ended").exists)
    until(lambda: "PENDING" in state(job))
    assert worker.ended() is None
    start_soon(job)
    ended = until(lambda: (slurm.look(), worker.ended())[1])
    assert ended.end is End.DONE


@needs_slurm
def test_a_job_that_is_lost_is_replaced_and_one_that_was_cancelled_is_not(
    engine: Callable[..., Slurm], tmp_path: Path
) -> None:
    code = """
import os, pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
turn = len(list(here.glob("*.turn"))) + 1
here.joinpath(f"{turn}.turn").touch()
if turn == 1:
    os.kill(os.getppid(), signal.SIGKILL)
time.sleep(600)
"""
    slurm, said = engine(code, str(tmp_path)), list[str]()

    def cancel() -> None:
        until((tmp_path / "2.turn").exists)
        slurm.stop(slurm.found(), 0.0, lambda: True)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    assert not Crew(slurm, 1, said.append).run(lambda: 0, [])
    canceller.join()
    told = [line for line in said if line.startswith("worker 0 ")]
    assert "ended as FAILED, started again" in told[0]
    assert "was cancelled, not started again" in told[1] and len(told) == 2


@needs_slurm
def test_from_within_a_job_it_submits_as_from_outside(
    engine: Callable[..., Slurm], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with salloc: a job's own settings are not those of the jobs that it submits."""
    for name, value in (("JOB_ID", "1"), ("CPUS_PER_TASK", "99"), ("NTASKS", "99")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    slurm = engine("import sys; open(sys.argv[1], 'x')", str(tmp_path / "made"))
    (worker,) = slurm.start([0])
    ended = until(lambda: (slurm.look(), worker.ended())[1])
    assert ended.end is End.DONE and (tmp_path / "made").exists()
    assert os.environ["SLURM_CPUS_PER_TASK"] == "99"


@needs_slurm
def test_a_mistake_and_a_death_are_told_with_the_last_words(engine: Callable[..., Slurm]) -> None:
    for code, mistake in (("print('error: no such model'); exit(2)", True), ("exit('no')", False)):
        slurm = engine(f"import sys; {code}")
        with pytest.raises(WorkersFailed, match="no") as caught:
            Crew(slurm, 1, strikes=1).run(lambda: 0, [])
        assert caught.value.mistake is mistake


@needs_slurm
def test_what_slurm_refuses_is_one_message(
    engine: Callable[..., Slurm], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for given, said in (
        ({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({"grs": "gpu:1"}, "unrecognized option '--grs=gpu:1'"),
    ):
        slurm = Slurm("tests-bad", ["true"], tmp_path, {"time": "5", **given})
        with pytest.raises(EngineError, match=said) as caught:
            slurm.start([0, 1])
        assert "correct --slurm" in str(caught.value) and "\n" not in str(caught.value)
    assert "sbatch" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30", 2), ("08:00:00", 480), ("2-12", 3600), ("1-0:30", 1470), ("0:0:1", 1)],
)
def test_a_time_is_read_as_slurm_does(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time": "8h"}, "--slurm time=8h: must be a time as SLURM writes it"),
        ({"time": "0"}, "--slurm time=0: must be more than 0"),
        ({"partition": "gpu"}, "--slurm: the time of a job is missing"),
        ({"time": "5", "job_name": "mine"}, "--slurm job-name=mine: is given already"),
        ({"time": "5", "array": "1-9"}, "the number of workers is --workers"),
    ],
)
def test_options_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        sbatch_options(given)


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no SLURM here"):
        Slurm("tests-none", ["true"], tmp_path, {"time": "5"})


def test_a_controller_that_does_not_answer_is_no_empty_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every call would start all workers once more."""
    for program in ("sbatch", "srun", "squeue"):
        (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EngineError, match="SLURM does not answer"):
        Slurm("tests-none", ["true"], tmp_path, {"time": "5"}).found()


def test_without_submitit_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(EngineError, match=r'pip install "optuna-partition\[slurm\]"'):
        Slurm("tests-none", ["true"], tmp_path, {"time": "5"})
