"""A study by two workers with gangs on PostgreSQL, in which every fault happens once.

The command, the processes, the signals and the server's crash are real; faults inside a rank are
those of faulty_rank.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal
import subprocess
from typing import Any

from commands import command
from commands import environment
from commands import one_thread
from commands import ROOT
from commands import until
from commands import written
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from workers import came_again

from benchmarks._stress_run import serving
from benchmarks._stress_servers import Missing
from benchmarks._stress_servers import POSTGRES
from benchmarks._stress_servers import Server
from objectives.job import Finished
from objectives.job import Job
from objectives.result.final import FINAL
from objectives.settings.config import load_experiment
from objectives.training.runner import load_runner
from objectives.tune.progress import finished
import storage


__all__ = ["one_thread"]  # a fixture

TRIALS = 15
LIMIT = 30.0  # seconds for a trial, which takes one on an idle machine
IN_A_RANK = {1: "little memory", 2: "kill", 3: "hang", 4: "mistake"}  # by trial
FAILURES = {
    "kill": "rank 0 was killed by SIGKILL",
    "hang": f"rank 0 not done within the time limit of {LIMIT} s",
    "mistake": "rank 0 raised RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}
NIGHT = "NIGHT"  # environment variable of all processes of a night
SITE = Path(__file__).parents[1] / "ranks" / "faulty_site"


@dataclass(frozen=True)
class Night:
    """What is left of it.

    Attributes:
        file: The experiment.
        study: As it is in the end.
        status: Of the command.
        output: Of the command.
        left: Processes that were still there some seconds after its end.
    """

    file: Path
    study: optuna.Study
    status: int
    output: str
    left: list[int]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that may crash: where the tests are given a server there are its programs."""
    if not os.environ.get(POSTGRES):
        pytest.skip(f"no server: set {POSTGRES} to a database URL")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(POSTGRES)
        try:
            with serving("postgres") as found:
                yield found
        except Missing as missing:
            pytest.skip(f"no server that may crash: {missing}")


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[BaseStorage]:
    found = storage.open(server.url)
    yield found
    found.engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def night(
    server: Server,
    database: BaseStorage,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model_folder: Path,
    alpaca_file: Path,
) -> Night:
    file = written(tmp_path_factory.mktemp("night"), tiny_model_folder, alpaca_file)
    long = file.read_text().replace("epochs = 2", "epochs = 8")  # enough to be met in the middle
    file.write_text(long)
    options = ["--storage", server.url, "--trials", str(TRIALS), "--pruner", "median"]
    options += ["--workers", "2", "--gpus-per-trial", "1", "--time-limit", str(LIMIT)]
    faults = json.dumps({"rank": 0, "faults": IN_A_RANK})
    with subprocess.Popen(
        command(file, *options, "--output", file.parent / "runs"),
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(SITE), "FAULTS": faults, NIGHT: str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            study = from_outside(server, database, process)
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    with contextlib.suppress(AssertionError):
        until(lambda: not processes(file))
    return Night(file, study, process.returncode, output, processes(file))


def from_outside(
    server: Server, database: BaseStorage, process: subprocess.Popen[str]
) -> optuna.Study:
    """What workers and the database meet, each when some more trials are finished."""

    def see(look: Callable[[], Any]) -> Any:
        return until(lambda: process.poll() is not None or look(), seconds=600)

    assert server.restart is not None
    see(lambda: optuna.get_all_study_names(database))
    study = optuna.load_study(study_name="tiny", storage=database)
    for number, count in ((signal.SIGTERM, 5), (signal.SIGKILL, 7)):
        worker = see(lambda: len(finished(study)) >= count and in_a_trial(study))  # noqa: B023
        assert process.poll() is None, "over before it happened"
        os.kill(worker, number)
    see(lambda: len(finished(study)) >= 9 and is_no_ask_on_its_way(study))
    assert process.poll() is None, "over before it happened"
    server.restart()
    return study


def in_a_trial(study: optuna.Study) -> int | None:
    """A worker in the middle of a trial that is to meet nothing else; one may hang for long."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    begun = [t for t in running if t.intermediate_values and t.number not in IN_A_RANK]
    marks = [trial.user_attrs["worker"].split(":") for trial in begun]
    return next((int(process) for _, process, _, _ in marks), None)


def is_no_ask_on_its_way(study: optuna.Study) -> bool:
    """A trial that is lost just after it was made is waited for as long as a heartbeat."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return bool(running) and all("worker" in trial.user_attrs for trial in running)


def processes(file: Path) -> list[int]:
    """Workers and ranks that run for an experiment."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # of no process, or it has ended
            if f"{NIGHT}={file}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def done(night: Night) -> list[FrozenTrial]:
    return finished(night.study)


def failure(trial: FrozenTrial) -> str:
    """The kind of fault that a trial failed of."""
    said = trial.user_attrs["failure"]
    return next((name for name, text in FAILURES.items() if text in said), said)


def test_it_ends_with_its_trials_and_the_report(night: Night) -> None:
    """Two workers may finish one more than wanted."""
    assert night.status == 0, night.output
    assert TRIALS <= len(done(night)) <= TRIALS + 1
    states = Counter(trial.state for trial in night.study.trials)
    assert states.keys() == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    folder = night.file.parent / "runs" / "tiny"
    assert (folder / "report" / "report.html").exists() and (folder / "best_adapter").is_dir()
    assert len(night.study.user_attrs[FINAL]["rows"]) == 4, "by a gang, after the workers"
    assert not (folder / "checkpoints").exists()
    assert night.left == []


def test_no_trial_is_finished_twice(night: Night) -> None:
    points = Counter(tuple(sorted(trial.params.items())) for trial in done(night))
    assert set(points.values()) == {1}


def test_each_fault_happened_and_cost_one_trial(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too little memory costs nothing, and the trial of a worker that ended is run again."""
    by_number = {trial.number: trial for trial in night.study.trials}
    failed = [trial for trial in done(night) if trial.state is TrialState.FAIL]
    assert {t.number: failure(t) for t in failed} == {n: IN_A_RANK[n] for n in (2, 3, 4)}
    assert by_number[1].user_attrs["micro_batch"] == 1
    assert night.output.count("exited 130, started again") == 1
    assert night.output.count("was killed by SIGKILL, started again") == 1
    lost = [trial for trial in night.study.trials if trial not in done(night) and trial.params]
    assert lost and all(came_again(night.file, trial, done(night)) for trial in lost)
    with capsys.disabled():
        print(
            f"\n{len(done(night))} trials finished, {len(lost)} of them at the second try, ",
            end="",
        )
        resumed = [t for t in done(night) if "resumed_at" in t.user_attrs]
        print(f"{len(resumed)} of these from a checkpoint")


def test_every_value_is_a_clean_run_s(night: Night, tmp_path: Path) -> None:
    """Of whichever gang, after whatever fault, continued or not."""
    experiment = load_experiment(night.file)
    run = load_runner(experiment)
    for trial in done(night):
        if trial.state is TrialState.COMPLETE:
            chosen = experiment.hyperparameters(trial.params)
            batch = trial.user_attrs["micro_batch"]
            outcome = run(Job(0, chosen, str(tmp_path), batch, 1), lambda _: False)
            assert isinstance(outcome, Finished) and outcome.value == trial.value
