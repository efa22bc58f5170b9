"""Every program of benchmarks/ can be started: what it imports is there."""

from __future__ import annotations

from pathlib import Path
import runpy
import sys

import pytest


ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.name
    for path in (ROOT / "benchmarks").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text() and not path.name.startswith("_")
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_what_it_takes(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a main program of this process, which has torch already."""
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "benchmarks" / program), run_name="__main__")
    assert ended.value.code == 0 and "usage" in capsys.readouterr().out
