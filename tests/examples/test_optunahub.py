"""What is to go to OptunaHub: by its registry's rules, and loaded as its users load it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
import inspect
from pathlib import Path
import re
import runpy
import tomllib
from typing import Any

import optuna
import pytest
import yaml

import optuna_partition


ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "examples" / "optunahub" / "package"
PACKAGES = sorted(folder.parent for folder in REGISTRY.glob("samplers/*/README.md"))
FRONT = {"author", "title", "description", "tags", "optuna_versions", "license"}
SECTIONS = ["Abstract", "Class or Function Names", "Installation", "Example", "APIs", "Others"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """optunahub, whose registry is here: its own is behind a network."""
    optunahub = pytest.importorskip("optunahub")
    local = partial(optunahub.load_local_module, registry_root=str(REGISTRY))
    monkeypatch.setattr(optunahub, "load_module", local)
    yield optunahub


def name(package: Path) -> str:
    return package.name


def front(package: Path) -> dict[str, Any]:
    _, header, _ = (package / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header)


def classes(package: Path) -> list[str]:
    listed = (package / "README.md").read_text().split("## Class or Function Names\n")[1]
    return re.findall(r"^- (\w+)$", listed.split("\n## ")[0], flags=re.MULTILINE)


def test_there_are_three() -> None:
    assert [package.name for package in PACKAGES] == ["bamsoo", "nomad", "partition"]


@pytest.mark.parametrize("package", PACKAGES, ids=name)
def test_a_package_has_what_the_registry_asks_for(package: Path) -> None:
    assert package.name.isidentifier()
    found = front(package)
    assert found.keys() == FRONT and found["license"] == "MIT License"
    assert all(isinstance(found[key], str) for key in ("author", "title", "description"))
    assert found["tags"][0] == "sampler" and all(isinstance(tag, str) for tag in found["tags"])
    assert found["optuna_versions"] == [optuna.__version__], "tested with this one"
    sections = re.findall(r"^## (.*)$", (package / "README.md").read_text(), flags=re.MULTILINE)
    assert sections == SECTIONS
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("package", PACKAGES, ids=name)
def test_it_installs_an_extra_that_there_is(package: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    line = (package / "requirements.txt").read_text()
    found = re.fullmatch(r"([\w-]+)(?:\[(\w+)\])?\n", line)
    assert found is not None and found[1] == project["name"]
    assert found[2] is None or found[2] in project["optional-dependencies"]


@pytest.mark.parametrize("package", PACKAGES, ids=name)
def test_loaded_it_has_the_wheel_s_classes(package: Path, hub: Any) -> None:
    module = hub.load_module(f"samplers/{package.name}")
    assert sorted(classes(package)) == module.__all__
    for each in module.__all__:
        assert getattr(module, each) is getattr(optuna_partition, each)


@pytest.mark.parametrize("package", PACKAGES, ids=name)
def test_its_signatures_are_the_classes_own(package: Path) -> None:
    text = (package / "README.md").read_text()
    for each in classes(package):
        (told,) = re.findall(rf"^- `{each}\((.*)\)`$", text, flags=re.MULTILINE)
        parameters = inspect.signature(getattr(optuna_partition, each)).parameters.values()
        assert told == ", ".join(["*", *(f"{p.name}={_shown(p.default)}" for p in parameters)])


def _shown(default: object) -> str:
    return f'"{default}"' if isinstance(default, str) else repr(default)


@pytest.mark.parametrize("package", PACKAGES, ids=name)
def test_its_example_runs_and_finds_the_minimum(
    package: Path, hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    study = runpy.run_path(str(package / "example.py"))["study"]
    assert type(study.sampler).__name__ in classes(package)
    assert study.best_value < 0.5 and str(study.best_value) in capsys.readouterr().out
    (block,) = re.findall(
        r"```python\n(.*?)```", (package / "README.md").read_text(), flags=re.DOTALL
    )
    assert block in (package / "example.py").read_text()
