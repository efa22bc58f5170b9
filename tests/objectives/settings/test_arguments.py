"""Mistakes in the command's arguments: one line each, exit status 2."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from objectives.tune import main


ROOT = Path(__file__).parents[3]
FILE = str(ROOT / "examples" / "standin.toml")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the experiment file is missing; for example python -m objectives.tune"),
        ([FILE, "--trails", "10"], "--trails: there is no such option; did you mean --trials?"),
        (["--trails=10", FILE], "--trails: there is no such option; did you mean --trials?"),
        ([FILE, "-workers", "2"], "-workers: there is no such option; did you mean --workers?"),
        ([FILE, "--xyz"], "--xyz: there is no such option; python -m objectives.tune --help"),
        ([FILE, FILE], f"{FILE}: is one argument too many"),
        ([FILE, "--trials", "ten"], "--trials ten: must be a whole number"),
        ([FILE, "--trials"], "--trials: expected one argument"),
        ([FILE, "--time-limit", "1h"], "--time-limit 1h: must be a number"),
        (
            [FILE, "--budget", "3"],
            "--budget 3: must be a time, or a number of trainings, and more",
        ),
        (
            [FILE, "--budget", "0h"],
            "than nothing; write for example 3h, 1h30m, 2d or 20trainings",
        ),
        ([FILE, "--budget", "3h 20 trainings"], "--budget 3h 20 trainings: must be a time, or a"),
        ([FILE, "--pack", "all"], "--pack all: must be a number of trials, or auto"),
        ([FILE, "--s", "3"], "ambiguous option: --s could match --storage"),
        ([FILE, "--sampler", "bamso"], "random; did you mean bamsoo?"),
        ([FILE, "--sampler", "annealing"], "--sampler annealing: must be one of bamsoo, soo"),
        ([FILE, "--pruner", "hyberband"], "hyperband, asha, bound; did you mean hyperband?"),
        ([FILE, "--study", "a\nb"], r"--study 'a\nb': holds a control character"),
        ([FILE, "--study", "x" * 256], "--study xxxxxxxxxxxxxxxxxxxx...: is a folder in --output"),
        ([FILE, "--output", "a\0b"], r"--output 'a\x00b': holds a NUL, which no path can"),
        (
            [FILE, "--gpus-per-trial", "1", "--launcher", "srun 'a"],
            "--launcher 'srun 'a': cannot be split into words (No closing quotation); give each",
        ),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(capsys, *arguments)


def test_help_is_not_a_mistake() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "objectives.tune", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0 and "--gpus-per-trial" in shown.stdout and shown.stderr == ""
