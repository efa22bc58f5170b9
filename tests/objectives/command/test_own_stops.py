"""Workers that are killed or interrupted in a trial: their trainers end, and the study goes on."""

from __future__ import annotations

import os
from pathlib import Path
import re
import signal
import subprocess
import threading
from typing import Any

from commands import command
from commands import environment
from commands import ROOT
from commands import run
from commands import until
from optuna.trial import TrialState
import pytest
from trainers import own
from trainers import run_words
from trainers import study
from trainers import trials

import storage


TRIALS = 4


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Trainings that wait in the middle until there is a file `go`."""
    return own(tmp_path, run=run_words("--until", str(tmp_path / "go")))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the same study is when nothing happens to it."""
    file = own(tmp_path_factory.mktemp("uninterrupted"))
    assert run(file, "--trials", str(TRIALS), "--search-only").returncode == 0
    return found(file)


def found(file: Path) -> list[Any]:
    complete = [trial for trial in trials(file) if trial.state is TrialState.COMPLETE]
    return sorted((str(trial.params), trial.value) for trial in complete)


def started(file: Path, *options: str) -> subprocess.Popen[str]:
    arguments = ("--output", file.parent / "runs", "--search-only", "--trials", str(TRIALS))
    return subprocess.Popen(
        command(file, *(options or arguments)),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trainers(file: Path) -> list[int]:
    """The processes whose training has begun, as they say themselves."""
    logs = [log.read_text() for log in file.parent.glob("runs/own/trials/*/log.txt")]
    return [int(pid) for log in logs for pid in re.findall(r"process (\d+)", log)]


def living(file: Path) -> list[int]:
    return [pid for pid in trainers(file) if lives(pid)]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists()


def test_a_killed_worker_s_trainer_ends_and_the_study_goes_on(
    file: Path, uninterrupted: list[Any]
) -> None:
    with started(file) as worker:
        until(lambda: trainers(file))
        worker.kill()
    until(lambda: not living(file))
    (file.parent / "go").touch()
    ended = run(file, "--trials", str(TRIALS), "--search-only")
    assert ended.returncode == 0 and "trial 0 was left by a process that is gone" in ended.stdout
    assert found(file) == uninterrupted
    lost = [trial for trial in trials(file) if trial.state is TrialState.FAIL]
    assert len(lost) == 1 and not Path(lost[0].user_attrs["output"]).exists()


def interrupted(file: Path, number: signal.Signals, *options: str) -> None:
    """This process has the command, and gets a signal once a trainer has begun."""

    def interrupt() -> None:
        until(lambda: living(file))
        os.kill(os.getpid(), number)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    ended = run(file, *options)
    interrupter.join()
    assert ended.returncode == 130, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("stopped; the same command")
    assert not living(file), "the command has waited for it"


def test_an_interrupted_worker_s_trainer_ends_and_the_study_goes_on(
    file: Path, uninterrupted: list[Any]
) -> None:
    interrupted(file, signal.SIGTERM, "--trials", str(TRIALS), "--search-only")
    (file.parent / "go").touch()
    assert run(file, "--trials", str(TRIALS), "--search-only").returncode == 0
    assert found(file) == uninterrupted


def test_a_trial_that_another_worker_takes_for_dead_is_given_up_and_the_search_goes_on(
    file: Path, uninterrupted: list[Any]
) -> None:
    """As after an outage of the database in which the trial had no sign of life."""

    def fail() -> None:
        until(lambda: trainers(file))
        theirs = study(file)
        assert storage.recover(theirs) == [], "its process lives"
        theirs._storage.set_trial_state_values(theirs.trials[0]._trial_id, TrialState.FAIL)
        (file.parent / "go").touch()

    other = threading.Thread(target=fail)
    other.start()
    ended = run(file, "--trials", str(TRIALS), "--search-only")
    other.join()
    assert ended.returncode == 0, ended.stderr
    assert "trial 0 was taken for dead by another worker; the search goes on" in ended.stdout
    assert found(file) == uninterrupted and trials(file)[0].state is TrialState.FAIL


def test_a_baseline_that_was_interrupted_is_asked_for_again(tmp_path: Path) -> None:
    words = run_words("--until", str(tmp_path / "go"))
    file = own(tmp_path, run=words, baseline="{{learning_rate = 2e-4, rank = 4}}")
    interrupted(file, signal.SIGINT, "--trials", "2")
    (tmp_path / "go").touch()
    assert run(file, "--trials", "2").returncode == 0
    states = [trial.state for trial in trials(file) if "baseline" in trial.user_attrs]
    assert states == [TrialState.FAIL, TrialState.COMPLETE] and len(found(file)) == 2


START = 'sampler = "soo"\nstart = [{learning_rate = 2e-4, rank = 4}]'


def starts(file: Path) -> list[TrialState]:
    """What has become of what the study is to start with."""
    asked = {"learning_rate": 2e-4, "rank": 4}
    return [trial.state for trial in trials(file) if trial.params == asked]


@pytest.mark.parametrize(
    ("options", "number"),
    [(("--search-only",), signal.SIGINT), (("--workers", "1"), signal.SIGTERM)],
)
def test_what_it_is_to_start_with_is_run_again_once(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    file = own(tmp_path, run=run_words("--until", str(tmp_path / "go")), study=START)
    interrupted(file, number, "--trials", "3", *options)
    assert starts(file) == [TrialState.FAIL, TrialState.WAITING]
    (tmp_path / "go").touch()
    assert run(file, "--trials", "3", "--search-only").returncode == 0
    assert starts(file) == [TrialState.FAIL, TrialState.COMPLETE] and len(found(file)) == 3


def test_what_it_is_to_start_with_is_run_again_also_after_a_second_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is put back: nothing would ask for it, nor would `start`."""
    file = own(tmp_path, run=run_words("--until", str(tmp_path / "go")), study=START)

    def again(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "put_back", again)
    interrupted(file, signal.SIGINT, "--trials", "2", "--search-only")
    assert starts(file) == [TrialState.FAIL]
    (tmp_path / "go").touch()
    ended = run(file, "--trials", "2")  # not one of many workers: that would put it back twice
    assert ended.returncode == 0 and "trial 0 was left" in ended.stdout
    assert starts(file) == [TrialState.FAIL, TrialState.COMPLETE] and len(found(file)) == 2


def test_what_a_budget_cuts_off_is_run_again(tmp_path: Path) -> None:
    file = own(tmp_path, run=run_words("--until", str(tmp_path / "go")), study=START)
    run(file, "--budget", "6s", "--search-only")
    assert starts(file) == [TrialState.FAIL, TrialState.WAITING]
    (tmp_path / "go").touch()
    assert run(file, "--trials", "2", "--search-only").returncode == 0
    assert starts(file) == [TrialState.FAIL, TrialState.COMPLETE] and len(found(file)) == 2


def test_workers_end_in_time_with_trials_that_would_take_hours(file: Path) -> None:
    """That it ends is the test; on a busy machine no trial may have begun."""
    ended = run(file, "--budget", "16s", "--workers", "1")
    assert "search ended   " in ended.stdout and ended.stderr == ""
    assert {trial.state for trial in trials(file)} <= {TrialState.FAIL}
    assert "Traceback" not in ended.stdout and not living(file)


def test_a_killed_command_leaves_neither_workers_nor_trainers_and_continues(
    file: Path, uninterrupted: list[Any]
) -> None:
    options = ("--output", str(file.parent / "runs"), "--workers", "2", "--trials", "9")
    with started(file, *options) as head:
        until(lambda: len(trainers(file)) == 2)
        workers = {int(each.user_attrs["worker"].split(":")[1]) for each in trials(file)}
        assert len(workers) == 2
        head.kill()
    until(lambda: not living(file) and not any(map(lives, workers)))
    (file.parent / "go").touch()
    assert run(file, "--trials", str(TRIALS), "--search-only").returncode == 0
    assert found(file) == uninterrupted


def test_workers_share_the_gpus_out(
    tmp_path: Path, uninterrupted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    file = own(tmp_path)
    ended = run(file, "--workers", "2", "--trials", str(TRIALS))
    assert ended.returncode == 0, ended.stderr
    logs = [log.read_text() for log in tmp_path.glob("runs/own/trials/*/log.txt")]
    seen = {devices for log in logs for devices in re.findall(r"process \d+ (\S+)", log)}
    assert seen <= {"4,5", "6,7"} and seen
    assert {trial.user_attrs["devices"] for trial in trials(file)} == {2}
    assert TRIALS <= len(found(file)) <= TRIALS + 1
    assert len(set(found(file)) & set(uninterrupted)) >= 3
    assert (tmp_path / "runs/own/best/command.sh").exists()
    assert ended.stdout.count("report   ") == 1


def test_a_trial_that_was_left_is_another_worker_s(file: Path) -> None:
    """While the search goes on."""

    def kill() -> None:
        until(lambda: trainers(file))
        worker = int(trials(file)[0].user_attrs["worker"].split(":")[1])
        os.kill(worker, signal.SIGKILL)
        (file.parent / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    ended = run(file, "--workers", "1", "--trials", "2")
    killer.join()
    assert ended.returncode == 0 and "was killed by SIGKILL, started again" in ended.stdout
    assert len(found(file)) == 2


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_a_reader_that_leaves_ends_it_without_an_error(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    """As `| head -1` does; what was told is finished, and the study goes on."""
    file = own(tmp_path)
    with subprocess.Popen(
        command(file, "--output", tmp_path / "runs", "--trials", "30", *workers),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert b"0 of 30 trials finished" in process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE and errors == b""
    count = len(found(file))
    assert 1 <= count < 30
    assert run(file, "--trials", str(count + 1), "--search-only").returncode == 0
    assert len(found(file)) == count + 1
