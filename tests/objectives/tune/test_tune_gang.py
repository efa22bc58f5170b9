"""`--gpus-per-trial` as a user runs it: beside one process's values, stopped, killed, misused."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import subprocess
import sys

from commands import bad
from commands import command
from commands import environment
from commands import experiment
from commands import load
from commands import one_thread
from commands import ROOT
from commands import run
from commands import running
from commands import until
from commands import values
from commands import written
import pytest
from rounding import LOSS

import storage


__all__ = ["experiment", "one_thread"]  # fixtures

TRIALS = "2"


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, alpaca_file: Path
) -> Path:
    """An experiment without dropout, and what one process finds in it, as study "alone"."""
    file = written(tmp_path_factory.mktemp("gang"), tiny_model_folder, alpaca_file)
    text = file.read_text().replace("dropout = 0.1", "dropout = 0.0")
    file.write_text(text.replace("epochs = 2", "epochs = 1"))
    ended = run(file, "--study", "alone", "--trials", TRIALS, "--search-only")
    assert ended.returncode == 0, ended.stderr
    return file


def children(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[1]) == process:
                found.append(int(folder.name))
    return found


def alive(processes: list[int]) -> list[int]:
    return [each for each in processes if Path(f"/proc/{each}").exists()]


def test_killed_it_leaves_no_rank_and_continues(file: Path) -> None:
    """Two ranks share a step's samples, and this process goes on. Workers' gangs are a night's."""
    options = ["--study", "killed", "--output", file.parent / "runs", "--search-only"]
    with subprocess.Popen(
        command(file, *options, "--gpus-per-trial", "2", "--trials", "500"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("trial   2"):
                gang = children(process.pid)
                until(lambda: running(file, "killed"))  # not in an ask: see `Turns`' grace
                process.kill()
    assert len(gang) == 2, said
    assert len([line for line in said if line.startswith("adapters: ")]) == 1, "not by each rank"
    until(lambda: not alive(gang))
    done = len(values(load(file, "killed")))  # two, unless this process was slow to stop it
    assert 2 <= done < 500
    ended = run(file, "--study", "killed", "--search-only", "--trials", str(done + 1))
    assert ended.returncode == 0, ended.stderr
    found, alone = values(load(file, "killed")), values(load(file, "alone"))
    assert len(found) == done + 1
    found = found[: len(alone)]
    assert [params for params, _ in found] == [params for params, _ in alone]
    assert [value for _, value in found] == pytest.approx([value for _, value in alone], rel=LOSS)


def test_the_command_begins_without_what_only_some_of_it_needs() -> None:
    """Who asks for a gang's trials has no torch, and a worker no figures."""
    heavy = {"torch", "transformers", "peft", "datasets", "matplotlib", "scipy"}
    code = f"import sys, objectives.tune.command; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_bad_input_is_one_message(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--gpus-per-trial 0: must be >= 1" in bad(experiment, "--gpus-per-trial", "0")
    assert "--time-limit 0: must be > 0" in bad(experiment, "--time-limit", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert storage.accelerators(os.environ) == ["0", "1", "2"]
    message = bad(experiment, "--gpus-per-trial", "2", "--workers", "2")
    assert "2 workers would take 4 GPUs, and there are 3" in message
    message = bad(experiment, "--time-limit", "60", "--workers", "4")
    assert "--time-limit or --cold, a GPU per trial: 4 workers would take 4 GPUs" in message
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (experiment.parent / "tasks" / "colours.jsonl").unlink()
    message = bad(experiment, "--cold")  # only a rank can find it
    assert "colours" in message and message.count("error:") == 1, "not after the search"
    assert not (experiment.parent / "runs" / "tiny").exists(), "nothing half-started"
