"""The command as a user runs it, on a small experiment, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import io
import json
import os
from pathlib import Path
import sqlite3
import sys
import time
from typing import Any

import optuna
from optuna.trial import TrialState
import pytest
import torch

from objectives.tune import main


ROOT = Path(__file__).parents[3]


EXPERIMENT = """
[model]
name = "{model}"

[data]
train = "{data}"
validation_rows = 8
mask_prompt = true
max_length = 256

[training]
epochs = 2
micro_batch = 8
validations = 2

[scoring]
tasks = "tasks"
test = ["colours"]
best = 2

[search]
learning_rate = {{low = 1e-4, high = 1e-1, log = true}}
weight_decay = 0.01
rank = {{low = 2, high = 8, log = true}}
alpha = 8
dropout = 0.1
effective_batch = 16

[study]
name = "tiny"
sampler = "soo"
trials = 5
"""


TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def written(folder: Path, model: Path, data: Path) -> Path:
    """An experiment file with its task."""
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "colours.yaml").write_text(TASK)
    rows = [
        {"query": f"Name the thing {i}.", "choices": ["apple", "river"], "gold": i % 2}
        for i in range(10)
    ]
    (tasks / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "tiny.toml"
    file.write_text(EXPERIMENT.format(model=model, data=data))
    return file


def with_own_trainer(folder: Path, *, seconds: float = 0.0, study: str = "") -> Path:
    """An experiment without torch: its trainer is the user's own, and quick."""
    (folder / "train.py").write_text(
        f"import sys, time; time.sleep({seconds}); print('loss:', abs(float(sys.argv[1]) - 0.3))"
    )
    file = folder / "own.toml"
    file.write_text(
        f"[command]\nrun = '{sys.executable} train.py {{x}}'\ndirection = 'minimize'\n"
        "value = {pattern = 'loss: (\\S+)'}\n"
        f"[search]\nx = {{low = 0.0, high = 1.0}}\n[study]\nsampler = 'soo'\n{study}\n"
    )
    return file


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that tests start: the order of a sum is part of the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def experiment(tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path) -> Path:
    """An experiment to spoil."""
    return written(tmp_path, tiny_model_folder, alpaca_file)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "objectives.tune", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def run(experiment: Path, *options: str | Path) -> Ended:
    """The command in this process, which has paid for the imports."""
    out, err = io.StringIO(), io.StringIO()
    arguments = [experiment, "--output", experiment.parent / "runs", *options]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Ended(status, out.getvalue(), err.getvalue())


def load(experiment: Path, name: str = "tiny") -> optuna.Study:
    url = f"sqlite:///{experiment.parent}/runs/{name}/study.db"
    return optuna.load_study(study_name=name, storage=url)


def values(study: optuna.Study) -> list[tuple[dict[str, Any], float | None]]:
    return [(t.params, t.value) for t in study.trials if t.state is TrialState.COMPLETE]


def running(file: Path, name: str) -> list[int]:
    """Processes that are in a trial; nothing is written, also where the study is being made."""
    database = file.parent / "runs" / name / "study.db"
    query = (
        "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
        "WHERE key = 'worker' AND state = 'RUNNING'"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
            rows = found.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    return [int(json.loads(value).split(":")[1]) for (value,) in rows]


def until(look: Callable[[], Any], seconds: float = 300) -> Any:
    """What there is as soon as there is something; on a busy machine that may take long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def bad(experiment: Path, *options: str) -> str:
    """The one message of a run that must not start."""
    ended = run(experiment, *options)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr and ended.stderr.startswith("error: ")
    return ended.stderr
