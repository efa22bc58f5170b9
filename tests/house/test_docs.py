"""Docs that cannot drift: the README's code runs, and what is public stands in it."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import optuna
import pytest

import optuna_partition


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the reader's study stays open
def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    study = names["study"]
    assert isinstance(study, optuna.Study) and len(study.trials) == 50
    study._storage._backend.engine.dispose()


def test_the_picture_s_example_runs(tmp_path: Path) -> None:
    picture = tmp_path / "branin.png"
    subprocess.run(
        [sys.executable, ROOT / "examples" / "branin.py", picture],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert picture.stat().st_size > 10_000


def test_every_public_name_stands_in_the_readme() -> None:
    names = [name for name in optuna_partition.__all__ if not name.startswith("__")]
    assert [name for name in names if name not in README] == []


def test_every_link_to_a_file_leads_somewhere() -> None:
    folders = ("", "benchmarks", "examples", "storage", "tests")
    pages = [page for folder in folders for page in (ROOT / folder).glob("*.md")]
    assert len(pages) >= 6
    for page in [*pages, *ROOT.glob("examples/*/*.md"), *ROOT.glob("tests/*/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page} links to {target}"


def test_every_command_of_the_readme_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "wheels", "gpu"} == commands < targets
