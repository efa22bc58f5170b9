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
        ([FILE, "--blue"], "--blue: there is no such option; python -m objectives.tune --help"),
        ([FILE, FILE], f"{FILE}: is one argument too many"),
        ([FILE, "--trials", "ten"], "--trials ten: must be a whole number"),
        ([FILE, "--trials"], "--trials: expected one argument"),
        ([FILE, "--time-limit", "1h"], "--time-limit 1h: must be a number"),
        ([FILE, "--pack", "all"], "--pack all: must be a number of trials, or auto"),
        ([FILE, "--s", "3"], "ambiguous option: --s could match --storage"),
        ([FILE, "--sampler", "bamso"], "random; did you mean bamsoo?"),
        ([FILE, "--sampler", "annealing"], "--sampler annealing: must be one of bamsoo, soo"),
        ([FILE, "--pruner", "hyberband"], "median, hyperband, asha; did you mean hyperband?"),
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
