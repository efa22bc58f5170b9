"""Docs that cannot drift: their code runs, their options exist, their messages are the code's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import redirect_stdout
from contextlib import suppress
import gc
import io
from pathlib import Path
import re
import runpy
import shlex
import sys
import tomllib
from typing import Any

import kubernetes_validate
from optuna.storages import RDBStorage
import pytest
import yaml

from docs import pictures
from objectives.settings.arguments import read_arguments
from objectives.settings.config import Experiment
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.search.space import SearchSettings
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS
import optuna_partition


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
OWN = ROOT / "examples" / "own" / "trl"
COMPILED_ONLY = "<!-- compiled only"
SMALLEST = {"model": {"name": "a/model"}, "data": {"train": "a/dataset"}}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def name(page: Path) -> str:
    return page.name


def with_block(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page.read_text(), language)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the readers' studies stay open
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("page", with_block("python"), ids=name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    text = re.sub(rf"{COMPILED_ONLY}.*?-->\n```python", "```compiled", page.read_text())
    for block in blocks(text, "python"):
        exec(compile(block, page.name, "exec"), names)
    for block in blocks(text, "compiled"):
        compile(block, page.name, "exec")
    names.clear()
    for thing in gc.get_objects():  # also those whose names a page gave to others
        if type(thing) is RDBStorage:
            thing.remove_session()
            thing.engine.dispose()


def test_the_readme_s_search_has_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(README, "python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    assert "n_trials=50" in block


@pytest.mark.parametrize("page", with_block("toml"), ids=name)
def test_the_toml_of_a_page_is_an_experiment(page: Path) -> None:
    for block in blocks(page.read_text(), "toml"):
        said = tomllib.loads(block)
        if "command" in said:
            OwnExperiment.model_validate(said, context={"folder": OWN})
        else:
            Experiment.model_validate(SMALLEST | said)


@pytest.mark.parametrize("page", with_block("sh"), ids=name)
def test_the_options_of_a_page_are_the_command_s(page: Path) -> None:
    known = options()
    for arguments in calls(page.read_text()):
        assert {a for a in arguments if a.startswith("--")} <= known  # argparse takes half names
        if "--help" not in arguments:
            assert read_arguments(arguments, SAMPLERS, PRUNERS).file == Path("my.toml")


def test_the_manifest_is_one_of_kubernetes() -> None:
    """By the schema of its current version, in which no unknown key is left out silently."""
    (text,) = blocks((ROOT / "docs" / "workers.md").read_text(), "yaml")
    manifest = yaml.safe_load(text)
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest, version, strict=True)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    python, module, *arguments = container["command"][:1] + container["command"][2:]
    assert (python, module) == ("python", "objectives.tune")
    assert read_arguments(arguments, SAMPLERS, PRUNERS).file == Path("my.toml")


def test_the_table_of_bounds_is_the_command_s() -> None:
    row = re.compile(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (log )?\|$", re.MULTILINE)
    table = row.findall((ROOT / "docs" / "tune.md").read_text())
    space = SearchSettings().distributions().items()
    assert table == [(n, f"{d.low:g}", f"{d.high:g}", "log " * d.log) for n, d in space]


def options() -> set[str]:
    with redirect_stdout(io.StringIO()) as told, suppress(SystemExit):
        read_arguments(["--help"], SAMPLERS, PRUNERS)
    return set(re.findall(r"--[a-z-]+", told.getvalue()))


def calls(text: str) -> Iterator[list[str]]:
    """The arguments of each call of the command in the page's shell."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            _, _, rest = line.partition("-m objectives.tune ")
            rest = rest.rstrip(" &")
            if rest:
                quoted = any(rest.count(quote) % 2 for quote in "\"'")
                yield shlex.split(rest[:-1] if quoted else rest, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_installs_and_makes_is_there(page: Path) -> None:
    shell = "\n".join(blocks(page.read_text(), "sh"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        extra for found in re.findall(r"\.\[([\w,]+)\]", shell) for extra in found.split(",")
    }
    assert extras <= project["optional-dependencies"].keys()
    assert set(re.findall(r"^make (\w+)", shell, flags=re.MULTILINE)) <= targets()
    for module in re.findall(r"python -m ((?:docs|benchmarks)[\w.]*)", shell):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for script in re.findall(r"python ([\w/]+\.py)", shell):
        assert (ROOT / script).exists(), script


def targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_the_readme_s_commands_are_two() -> None:
    assert re.findall(r"^make (\w+)", README, flags=re.MULTILINE) == ["demo", "test"]


@pytest.mark.parametrize("message", blocks(TROUBLE, "text"))
def test_a_message_of_the_troubleshooting_is_the_code_s(message: str) -> None:
    parts = [part.strip() for part in message.split("...") if part.strip()]
    assert any(all(part in text for part in parts) for text in MESSAGES), parts


def messages() -> set[str]:
    """Every text in the sources, pieces put together, `...` where a value stands."""
    found = set()
    for folder in ("optuna_partition", "objectives", "storage"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.add("".join(map(_text, node.values)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def _text(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "..."


MESSAGES = messages()


def test_the_picture_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "branin.png"
    monkeypatch.setattr(sys, "argv", ["branin.py", str(picture)])
    runpy.run_path(str(ROOT / "examples" / "branin.py"), run_name="__main__")
    assert picture.stat().st_size > 10_000


def test_the_pictures_of_the_documentation_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of shorter searches than the documentation's."""
    monkeypatch.setattr(pictures, "FRAMES", (4, 12))
    monkeypatch.setattr(pictures, "TRAININGS", 6)
    monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path)])
    pictures.main()
    made = {picture.name for picture in tmp_path.iterdir()}
    assert made == {"choices.png", "frames.png", "searches.png", "stops.png"}


def test_every_public_name_stands_in_the_readme() -> None:
    names = [name for name in optuna_partition.__all__ if not name.startswith("__")]
    assert [name for name in names if name not in README] == []


def test_every_link_to_a_file_leads_somewhere() -> None:
    folders = ("", "benchmarks", "docs", "examples", "storage", "tests")
    pages = [page for folder in folders for page in (ROOT / folder).glob("*.md")]
    assert len(pages) >= 6
    for page in [*pages, *ROOT.glob("examples/*/*.md"), *ROOT.glob("tests/*/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page} links to {target}"
