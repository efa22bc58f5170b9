"""`--workers` as a user runs it: to the end, a worker killed, interrupted, misused."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import threading
from typing import Any

from commands import bad
from commands import Ended
from commands import experiment
from commands import load
from commands import one_thread
from commands import run
from commands import running
from commands import until
from commands import written
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna_dashboard._note import get_note
import pytest
from workers import came_again

from objectives.result.final import FINAL
from storage._process import NAME


TRIALS = 4

__all__ = ["experiment", "one_thread", "until"]  # fixtures, and what others wait with


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, alpaca_file: Path
) -> Path:
    """An experiment whose trials take long enough to be killed in."""
    file = written(tmp_path_factory.mktemp("workers"), tiny_model_folder, alpaca_file)
    text = file.read_text().replace("trials = 5", f"trials = {TRIALS}")
    file.write_text(text.replace("epochs = 2", "epochs = 4"))
    return file


@pytest.fixture(scope="module")
def alone(file: Path) -> dict[Any, float]:
    """What one process finds, by point; more of it than two workers need.

    Nobody watches it, so that it writes the note.
    """
    ended = run(file, "--study", "alone", "--trials", str(TRIALS + 2), "--search-only")
    assert ended.returncode == 0, ended.stderr
    assert "report" not in ended.stdout
    return values(load(file, "alone"))


@pytest.fixture(scope="module")
def together(file: Path) -> Ended:
    """Two workers, one of which is killed in a trial."""

    def kill_one() -> None:
        os.kill(until(lambda: running(file, "together"))[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    ended = run(file, "--study", "together", "--workers", "2")
    killer.join()
    return ended


def values(study: optuna.Study) -> dict[Any, float]:
    return {point(t): t.value for t in complete(study) if t.value is not None}


def complete(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state is TrialState.COMPLETE]


def point(trial: FrozenTrial) -> Any:
    return tuple(sorted(trial.params.items()))


def processes(file: Path) -> list[int]:
    """Everything that runs for an experiment, as its command line says."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and str(file).encode() in _command_line(folder)
    ]


def _command_line(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def test_two_workers_finish_a_study(file: Path, together: Ended, alone: dict[Any, float]) -> None:
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("\nadapters: ") == 1, "not by each worker"
    study = load(file, "together")
    done = complete(study)
    assert TRIALS <= len(done) <= TRIALS + 1
    assert len({point(trial) for trial in done}) == len(done), "a point twice"
    found = values(study)
    common = found.keys() & alone.keys()
    assert len(common) >= 3
    assert {p: found[p] for p in common} == {p: alone[p] for p in common}


def test_they_share_one_progress_and_one_report(file: Path, together: Ended) -> None:
    lines = [line for line in together.stdout.splitlines() if line.startswith("trial ")]
    assert len(lines) == len(complete(load(file, "together")))
    assert lines[0].startswith(f"trial   1 of {TRIALS}") and lines[-1].endswith("done")
    folder = file.parent / "runs" / "together"
    assert together.stdout.count("report  ") == 1 and (folder / "report/report.html").exists()
    assert len(load(file, "together").user_attrs[FINAL]["rows"]) == 4
    logs = "".join(log.read_text() for log in (folder / "workers").glob("*.log"))
    assert "final test" not in logs and "Traceback" not in logs


def test_a_killed_worker_is_replaced(file: Path, together: Ended) -> None:
    assert together.stdout.count("was killed by SIGKILL, started again") == 1
    trials = load(file, "together").trials
    (lost,) = [trial for trial in trials if trial.state is TrialState.FAIL]
    assert came_again(file, lost, complete(load(file, "together")))
    assert not [trial for trial in trials if trial.state is TrialState.RUNNING]


def test_the_dashboard_s_note_says_who_ran_what(file: Path, together: Ended) -> None:
    study = load(file, "together")
    marks = [t.user_attrs["worker"] for t in study.trials if "worker" in t.user_attrs]
    workers = {mark.split(":")[1] for mark in marks}
    body = get_note(study)
    rows = [line.split(" | ") for line in body.splitlines() if line.startswith("| ")][1:]
    assert ": none running, 0." in body and len(rows) == len(workers) >= 2
    assert sum(int(row[6]) for row in rows) == len(complete(study))
    assert {row[1] for row in rows} == {"0", "1"}, "who takes a place has its name"


def test_only_a_worker_that_nobody_watches_writes_the_note(
    file: Path, alone: dict[Any, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alone and "process " in get_note(load(file, "alone"))
    monkeypatch.setenv(NAME, "3")
    ended = run(file, "--study", "watched", "--trials", "1", "--search-only")
    assert ended.returncode == 0, ended.stderr
    assert "process " not in get_note(load(file, "watched"))


def test_stopped_it_ends_its_worker_s_trial(file: Path) -> None:
    """Several end as one does."""

    def stop() -> None:
        until(lambda: running(file, "stopped"))
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    ended = run(file, "--study", "stopped", "--workers", "1", "--trials", "500")
    stopper.join()
    assert ended.returncode == 130 and "the same command continues" in ended.stdout
    assert processes(file) == []
    states = {trial.state for trial in load(file, "stopped").trials}
    assert TrialState.RUNNING not in states and TrialState.FAIL in states


def test_bad_input_is_one_message_before_any_worker_starts(experiment: Path) -> None:
    assert "--workers 0: must be >= 1" in bad(experiment, "--workers", "0")
    assert "a worker starts no workers" in bad(experiment, "--workers", "2", "--search-only")
    memory = bad(experiment, "--workers", "2", "--storage", "sqlite:///:memory:")
    assert "in the memory of one process" in memory
    text = experiment.read_text().splitlines()
    text[2] = f'name = "{experiment.parent}"'
    experiment.write_text("\n".join(text))
    assert "`[model] name`" in bad(experiment, "--workers", "2")
    assert not (experiment.parent / "runs" / "tiny").exists(), "nothing half-started"


def test_what_only_a_worker_can_find_is_one_message_too(experiment: Path) -> None:
    text = experiment.read_text().replace("max_length = 256", "max_length = 4096")
    experiment.write_text(text)
    message = bad(experiment, "--workers", "1")
    assert "max_length" in message and message.count("error:") == 1
