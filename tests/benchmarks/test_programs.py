"""Every program of benchmarks/ can be started: what it imports is there."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest


ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.name
    for path in (ROOT / "benchmarks").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text() and not path.name.startswith("_")
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_what_it_takes(program: str) -> None:
    command = [sys.executable, f"benchmarks/{program}", "--help"]
    found = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0 and "usage" in found.stdout, found.stderr
