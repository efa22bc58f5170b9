"""Ctrl-C before the search has begun: one line and exit status 130, whatever is going on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import IO

from commands import environment
from commands import until
from commands import with_own_trainer
from commands import written
import pytest


ROOT = Path(__file__).parents[3]
IMPORTED = """
import time
print("importing", flush=True)
try:
    time.sleep(600)
except BaseException:
    print("lost", flush=True)  # as Python loses an exception in a callback of its imports
raise ImportError("of something else")
"""


def stopped(
    file: Path, wait: Callable[[IO[str]], object], *options: str | Path, **more: str
) -> None:
    """The command, interrupted when the time has come, as what it says may tell."""
    with subprocess.Popen(
        [sys.executable, "-m", "objectives.tune", file, *options],
        cwd=ROOT,
        env={**environment(), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        wait(process.stdout)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == ""
    assert rest.splitlines()[-1] == "stopped; the same command continues this study"


def read(line: str, said: IO[str]) -> None:
    """Up to a line that begins so."""
    next(each for each in said if each.startswith(line))


def test_while_imports_run(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text(IMPORTED)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    stopped(tmp_path / "none.toml", partial(read, "importing"), PYTHONPATH=path)


@pytest.fixture
def experiment(tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path) -> Path:
    return written(tmp_path, tiny_model_folder, alpaca_file)


@pytest.mark.parametrize("seconds", [0, 2])
def test_while_torch_and_the_base_are_loaded(
    experiment: Path, tmp_path: Path, seconds: float
) -> None:
    def wait(said: IO[str]) -> None:
        read("loading", said)
        time.sleep(seconds)

    stopped(experiment, wait, "--output", tmp_path / "runs")


def test_while_the_study_is_opened(tmp_path: Path) -> None:
    """Another process, this one, has the lock of its journal."""
    journal, output = tmp_path / "study.log", tmp_path / "runs"
    Path(f"{journal}.lock").symlink_to(f"elsewhere/1:1:1:{time.time()}")

    options = ("--storage", f"journal:///{journal}", "--output", output)
    made_just_before = output / "own"
    stopped(with_own_trainer(tmp_path), lambda _: until(made_just_before.is_dir), *options)
    assert journal.read_bytes() == b""
