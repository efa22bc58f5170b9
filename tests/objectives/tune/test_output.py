"""Folders that cannot be written and disks that are full: one message with the place in it."""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

from backends import fill
from commands import Ended
from commands import environment
from commands import run
from commands import with_own_trainer
from commands import written
import pytest


ROOT = Path(__file__).parents[3]


@pytest.fixture
def experiment(tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path) -> Path:
    return written(tmp_path, tiny_model_folder, alpaca_file)


def ended(*command: str | Path) -> Ended:
    """Python as a process of its own."""
    found = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return Ended(found.returncode, found.stdout, found.stderr)


def message(found: Ended, status: int) -> str:
    assert found.returncode == status, found.stdout + found.stderr
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# ---- folders ----


@pytest.mark.parametrize("below", ["", "runs", "a/b"])
def test_an_output_that_is_a_file_is_told_of_before_anything_is_loaded(
    experiment: Path, tmp_path: Path, below: str
) -> None:
    file = tmp_path / "output"
    file.touch()
    found = run(experiment, "--output", file / below)
    expected = f"--output: {file} cannot be written (Not a directory); change that, or give anothe"
    assert expected in message(found, 2)
    assert "loading" not in found.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_an_output_where_no_folder_can_be_made_is_told_of_before_anything_is_loaded(
    experiment: Path, tmp_path: Path
) -> None:
    """The permissions of /proc are root's like any folder's; and a link that leads nowhere."""
    found = run(experiment, "--output", "/proc/runs")
    assert message(found, 2).startswith("--output: /proc cannot be written (")
    assert "loading" not in found.stdout
    (loop := tmp_path / "loop").symlink_to(loop)
    found = run(experiment, "--output", loop / "runs")
    assert message(found, 2).startswith(f"--output: {loop} cannot be written (Not a directory)")
    found = run(experiment, "--output", "x" * 300)
    assert "xxx cannot be written (File name too long); change that" in message(found, 2)


UNPRIVILEGED = """
import os, sys
from objectives.tune import main
from objectives.tune.command import run  # what it needs, as long as it may be read
if os.getuid() == 0:
    os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def test_an_output_that_may_not_be_written_is_told_of() -> None:
    with tempfile.TemporaryDirectory() as top:  # which every user may enter, unlike pytest's
        Path(top).chmod(0o755)
        shutil.copytree(ROOT / "examples", Path(top) / "examples")
        (kept := Path(top) / "kept").mkdir(mode=0o555)
        experiment = Path(top) / "examples" / "standin.toml"
        found = ended("-c", UNPRIVILEGED, experiment, "--output", kept / "runs")
    assert f"--output: {kept} cannot be written (Permission denied)" in message(found, 2)


# ---- full disks ----


def test_the_full_disk_of_the_study_is_named(tmp_path: Path, small_disk: Path) -> None:
    """And not another output folder, which would be of no help; no heartbeat says more."""
    experiment, file = with_own_trainer(tmp_path), small_disk / "study.db"
    options = ("--storage", f"sqlite:///{file}", "--output", tmp_path / "runs", "--search-only")
    assert run(experiment, *options, "--trials", "1").returncode == 0
    fill(small_disk, leave=80_000)
    told = message(ended("-m", "objectives.tune", experiment, *options, "--trials", "200"), 1)
    assert f"{file} cannot be written, for the disk at {small_disk} is full; make room" in told
    assert "--output" not in told and "the same command continues this study" in told
    (small_disk / "filled").unlink()
    assert run(experiment, *options, "--trials", "2").returncode == 0


def test_the_full_disk_of_the_output_is_named(
    experiment: Path, tmp_path: Path, small_disk: Path
) -> None:
    """Another --output would be no way out: without --storage it would be another study."""
    fill(small_disk, leave=1000)
    options = ("--storage", f"sqlite:///{tmp_path}/study.db", "--output", small_disk / "runs")
    told = message(run(experiment, *options), 2)
    assert (
        told.startswith(f"--output: {small_disk}/runs/")
        and f"the disk at {small_disk} is full" in told
    )
    assert "make room there" in told and "another" not in told
