"""`--on slurm` as a user runs it on a real SLURM: left, attached to, scaled, ended."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from functools import partial
import io
import os
from pathlib import Path
import signal
import subprocess

from backends import close
from backends import opened
from commands import bad
from commands import experiment
from commands import one_thread
from commands import run
from commands import with_own_trainer
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from objectives.tune import main
from objectives.tune.cluster.engines import job_name
import storage


SLURM = "OPTUNA_PARTITION_SLURM"
TRIALS = 4
needs_slurm = pytest.mark.skipif(
    not os.environ.get(SLURM), reason=f"no SLURM: set {SLURM} to a partition"
)

__all__ = ["experiment", "one_thread"]  # fixtures


@pytest.fixture
def options(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Of a search on SLURM; no job of it is left, and no connection of a command."""
    sbatch = f"partition={os.environ.get(SLURM)} time=00:10:00"
    found, open_storage = [], storage.open

    def kept(url: str) -> optuna.storages.BaseStorage:
        found.append(open_storage(url))
        return found[-1]

    monkeypatch.setattr(storage, "open", kept)
    yield ["--storage", postgres, "--study", "tiny", "--on", "slurm", "--slurm", sbatch]
    for each in found:
        close(each)
    subprocess.run(["scancel", f"--name={job_name(postgres, 'tiny')}"], check=True)


def test_journals_of_two_folders_have_jobs_of_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each is called by the same relative path; an absolute one names the same jobs."""
    names = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        names.append(job_name("journal:///study.log", "tiny"))
        assert names[-1] == job_name(f"journal:///{folder}/study.log", "tiny")
    assert len(set(names)) == 2


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """An experiment whose trainer is the user's own, and quick."""
    return with_own_trainer(tmp_path, seconds=0.3)


class CtrlC(io.StringIO):
    """Where a command writes that gets Ctrl-C when it has written such a line."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line

    def write(self, text: str) -> int:
        count = super().write(text)
        if text.startswith(self._line):
            os.kill(os.getpid(), signal.SIGINT)
        return count


def interrupted(experiment: Path, line: str, *options: str) -> str:
    """What a command writes that gets Ctrl-C then."""
    arguments = [str(experiment), "--output", str(experiment.parent / "runs"), *options]
    with contextlib.redirect_stdout(CtrlC(line)) as said:
        status = main(arguments)
    assert status == 130, said.getvalue()
    return said.getvalue()


@pytest.fixture
def study(postgres: str) -> Iterator[Callable[[], optuna.Study]]:
    """Loads the study, whose tables must be there."""
    with opened(postgres) as backend:
        yield partial(optuna.load_study, study_name="tiny", storage=backend)


def trials(study: Callable[[], optuna.Study], *states: TrialState) -> list[FrozenTrial]:
    """Of the study, where there is one."""
    try:
        return study().get_trials(states=states)
    except KeyError:  # nobody has made it
        return []


@needs_slurm
def test_the_search_outlives_its_command_and_ends_with_the_report(
    experiment: Path, options: list[str], study: Callable[[], optuna.Study]
) -> None:
    """Its trials are long enough that some are to come."""
    experiment.write_text(experiment.read_text().replace("epochs = 2", "epochs = 8"))
    search = [*options, "--trials", str(TRIALS), "--workers", "1"]
    left = interrupted(experiment, "trial   1", *search)
    assert "workers        1 on slurm: 1 submitted" in left
    assert "2 on slurm go on; the same command attaches again" in left
    ended = run(experiment, *search)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "final test: base" in ended.stdout and "best adapter" in ended.stdout
    assert (experiment.parent / "runs" / "tiny" / "report" / "report.html").exists()
    done = trials(study, TrialState.COMPLETE)
    assert len({tuple(t.params.items()) for t in done}) == len(done)
    assert len(done) == TRIALS and trials(study, TrialState.RUNNING) == []


@needs_slurm
def test_a_trainer_of_the_user_s_own_to_the_end(trainer: Path, options: list[str]) -> None:
    """Whoever attaches sees what the last job writes from its first line on."""
    search = [*options, "--trials", "6", "--workers", "2"]
    assert run(trainer, *search, "--detach").stdout.splitlines()[-1].startswith("detached   ")
    ended = run(trainer, *search)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout[ended.stdout.rindex("study tiny in ") :].splitlines()
    assert "trials finished" in told[0] and told[1].startswith("best           value 0.")
    assert (trainer.parent / "runs" / "tiny" / "best" / "command.sh").exists()


@needs_slurm
def test_their_number_changes_and_all_end_when_they_are_told_to(
    trainer: Path, options: list[str]
) -> None:
    search = [*options, "--trials", "500"]
    assert run(trainer, *search, "--workers", "2", "--detach").returncode == 0
    scaled = run(trainer, *search, "--workers", "1", "--detach")
    assert "workers        1 on slurm: 2 found, 1 sent away" in scaled.stdout
    other = run(trainer, *options, "--trials", "400", "--workers", "1")
    assert other.returncode == 2 and "tiny has workers (1) with other options" in other.stderr
    stop = [*search, "--workers", "1", "--cancel-on-interrupt"]
    stopped = interrupted(trainer, "workers        1 running", *stop)
    assert "stopped        2 ended; the same command continues this study" in stopped
    assert "workers        0 ended" in run(trainer, *options, "--workers", "0").stdout


@needs_slurm
def test_a_partition_that_is_not_there_is_one_message(trainer: Path, options: list[str]) -> None:
    ended = run(trainer, *options[:-1], "partition=nowhere time=10", "--workers", "1")
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 2 and last.startswith("error: --on slurm: SLURM refuses the job")
    assert "nowhere" in last


def test_a_storage_of_one_machine_is_refused(experiment: Path) -> None:
    on = ["--on", "slurm", "--slurm", "time=10", "--workers", "2"]
    assert "--on slurm: the study is in a file of this machine" in bad(experiment, *on)
    message = bad(experiment, *on, "--storage", "sqlite:///study.db")
    assert "SQLite is for the processes of one machine" in message
    assert not (experiment.parent / "runs" / "tiny").exists(), "nothing half-started"
