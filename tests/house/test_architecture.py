"""The house: who may import whom, what is public, and how light the import is."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
import graphlib
from pathlib import Path
import re
import subprocess
import sys
from types import ModuleType

import pytest

import optuna_partition
from optuna_partition._study import attributes


ROOT = Path(__file__).parents[2]
LAYERS = {  # from the lowest; a room is a folder or a file beside it, and imports from below
    "optuna_partition": (
        *(
            {"_core", "_threads"},
            {"_rules", "_space"},
            {"_gp", "_study"},
            {"_known", "_latin", "_nomad", "answer", "inspection", "pruners"},
        ),
        *({"_plot", "samplers"}, {"visualization", "__init__"}),
    ),
    "objectives": (
        *({"errors", "starting"}, {"output"}, {"settings"}, {"data"}, {"job"}),
        *({"owner", "record"}, {"model"}, {"scoring"}, {"training"}),
        *(
            {"gang", "objective", "report"},
            {"command", "pack", "result"},
            {"notebook", "tune"},
            {"adapter"},
            {"__init__"},
        ),
    ),
    "storage": (
        {"_devices", "_process", "_url"},
        {"_away", "_worker"},
        *({"_recover"}, {"backends", "engines"}, {"_open", "workers"}, {"_turns"}, {"__init__"}),
    ),
}
PURE = ("_core", "_rules")  # of the library


def imported(file: Path) -> set[str]:
    """Full names of the modules a file imports, wherever in the file."""
    return _names(ast.parse(file.read_text()))


def _names(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def room(module: Sequence[str]) -> str:
    """The folder or file below a package that a module lies in."""
    return module[1] if len(module) > 1 else "__init__"


@pytest.mark.parametrize("package", LAYERS)
def test_a_room_imports_only_the_rooms_below_it(package: str) -> None:
    layer = {name: i for i, names in enumerate(LAYERS[package]) for name in names}
    found = {room(file.with_suffix("").relative_to(ROOT).parts) for file in files(package)}
    assert found == layer.keys(), "every room has its layer"
    for file in files(package):
        own = room(file.with_suffix("").relative_to(ROOT).parts)
        for name in imported(file):
            other = room(name.split("."))
            if name.startswith(f"{package}.") and other in layer and other != own:
                assert layer[other] < layer[own], f"{file} imports {name}"


@pytest.mark.parametrize("package", LAYERS)
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    graph = {module_name(file): set[str]() for file in files(package)}
    for file in files(package):
        graph[module_name(file)] = imported(file) & graph.keys() - {module_name(file)}
    graphlib.TopologicalSorter(graph).prepare()


def module_name(file: Path) -> str:
    parts = file.with_suffix("").relative_to(ROOT).parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("package", ["optuna_partition", "objectives", "storage", "tests"])
def test_a_folder_holds_at_most_a_dozen_modules(package: str) -> None:
    folders = Counter(file.parent for file in files(package) if file.name != "__init__.py")
    assert not {folder: n for folder, n in folders.items() if n > 12}


@pytest.mark.parametrize("file", [f for room in PURE for f in files(f"optuna_partition/{room}")])
def test_the_core_knows_no_optuna_no_clock_and_no_randomness(file: Path) -> None:
    outside = {name.split(".")[0] for name in imported(file)} - {"optuna_partition"}
    assert outside <= set(sys.stdlib_module_names) | {"numpy"}
    assert not outside & {"time", "datetime", "random", "secrets", "uuid"}


@pytest.mark.parametrize("file", files("optuna_partition"))
def test_torch_is_in_one_room(file: Path) -> None:
    roots = {name.split(".")[0] for name in imported(file)}
    assert file.parent.name == "_gp" or not roots & {"torch", "botorch", "gpytorch"}


@pytest.mark.parametrize("file", files("optuna_partition"))
def test_optuna_s_insides_are_leant_on_in_one_file(file: Path) -> None:
    """For the day of an upgrade; `_space`, which lies below it, asks a distribution."""
    allowed = {"optuna.py": None, "values.py": {"_contains"}}.get(file.name, set())
    if allowed is not None and file.parent.name != "_gp":  # where they are BoTorch's
        assert _insides(ast.parse(file.read_text())) <= allowed


def _insides(tree: ast.AST) -> set[str]:
    """What begins with an underscore and is not the class's own, nor this library's."""
    found = {name for name in _names(tree) if re.match(r"optuna\.(.*\.)?_", name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            value = node.value.func if isinstance(node.value, ast.Call) else node.value
            owner = value.id if isinstance(value, ast.Name) else ""
            found |= {node.attr} if owner not in ("self", "super", "cls", "os") else set()
    return found


@pytest.mark.parametrize("file", [*files("optuna_partition"), *files("storage")])
def test_what_trials_carry_is_known_in_one_file(file: Path) -> None:
    """Names of attributes and of their fields: studies out there have them."""
    texts = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
    theirs = {attributes.NOMAD, attributes.FITS, attributes.FAILED, "announced", "claim"}
    assert file.name == "attributes.py" or not texts & theirs
    assert file.name in ("attributes.py", "visualization.py") or attributes.KEY not in texts


@pytest.mark.parametrize(
    ("folder", "foreign"),
    [
        ("optuna_partition", {"objectives", "storage"}),
        ("objectives", {"optuna_partition", "storage"}),
        ("storage", {"objectives"}),
    ],
)
def test_only_the_command_line_knows_all_three_packages(folder: str, foreign: set[str]) -> None:
    for file in files(folder):
        if ROOT / "objectives" / "tune" not in file.parents:
            packages = {name.split(".")[0] for name in imported(file)}
            assert not packages & foreign, f"{file.name} imports {packages & foreign}"


def test_who_scores_no_task_and_asks_no_hub_needs_no_datasets() -> None:
    """Which brings Arrow, 67 MB; `prefix_lm` is imported where a task is scored."""
    for file in files("objectives"):
        tree = ast.parse(file.read_text())
        tree.body = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        roots = {name.split(".")[0] for name in _names(tree)}
        assert file.stem == "prefix_lm" or not roots & {"datasets", "lm_eval"}, file.name


def test_public_names_are_listed_and_sorted() -> None:
    listed = optuna_partition.__all__
    assert listed == sorted(listed)
    public = {
        name
        for name, thing in vars(optuna_partition).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType)
    }
    assert public == set(listed) - {"__version__"}


def test_importing_the_library_imports_no_torch() -> None:
    code = (
        "import sys, optuna_partition; heavy = {'torch', 'botorch', 'plotly', 'transformers'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
