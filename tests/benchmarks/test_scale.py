"""The program that measures long studies and many workers, in small, on SQLite."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
import pytest


sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks._scale_fill import grown
from benchmarks._scale_fill import insert


ROOT = Path(__file__).parents[2]
JOIN = "join --trials 30 --in-flight 5 --asks 2 --samplers soo"
CROWD = "crowd --workers 3 --processes 2 --seconds 1 --samplers soo --storages ours"


def table(words: str) -> list[dict[str, str]]:
    """Runs the program; its rows, by title."""
    command = [sys.executable, "benchmarks/scale.py", *words.split(), "--database", "sqlite"]
    lines = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    titles, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def test_a_worker_joins_a_study_with_trials_in_flight() -> None:
    rows = table(JOIN)
    assert [row["storage"] for row in rows] == ["ours", "optuna"]
    assert all(int(row["statements"]) > 40 and int(row["MiB"]) > 50 for row in rows)


def test_a_crowd_evaluates_no_point_twice() -> None:
    (row,) = table(CROWD)
    assert int(row["trials"]) >= 3
    assert row["duplicates"] == "0"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_put_into_a_database_is_the_one_that_was_grown(tmp_path: Path) -> None:
    trials = grown(RandomSampler(), told=20, in_flight=3, show=lambda done: None)
    backend = RDBStorage(f"sqlite:///{tmp_path}/study.db", heartbeat_interval=1)
    insert(backend, "long", trials)
    study = optuna.load_study(study_name="long", storage=backend)
    optuna.storages.fail_stale_trials(study)  # those in flight live on
    for trial, same in zip(study.trials, trials, strict=True):
        assert {**vars(trial), "_trial_id": 0} == {**vars(same), "_trial_id": 0}
    assert [t.state for t in study.trials[20:]] == [TrialState.RUNNING] * 3
    backend.engine.dispose()
