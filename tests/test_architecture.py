"""The house: who may import whom, what is public, and how light the import is."""

from __future__ import annotations

import ast
import os
from pathlib import Path
import subprocess
import sys
from types import ModuleType

import pytest

import optuna_partition


ROOT = Path(__file__).parent.parent
CORE = {
    *("_axes", "_cells", "_inside", "_node", "_tree", "_rule"),
    *("_soo", "_direct", "_bamsoo", "_hybrid", "_slices", "_growth", "_again"),
}
NOMAD = {"_nomad_process", "_nomad_run", "_nomad_variables"}
MAY_IMPORT = {  # inside the library
    "_axes": set(),
    "_cells": {"_axes"},
    "_growth": {"_axes", "_cells"},
    "_inside": {"_axes", "_cells"},
    "_node": {"_axes", "_cells"},
    "_tree": {"_axes", "_cells", "_growth", "_inside", "_node"},
    "_rule": {"_axes", "_cells", "_growth", "_tree"},
    "_soo": {"_axes", "_cells", "_growth", "_node", "_tree", "_rule"},
    "_direct": {"_axes", "_cells", "_growth", "_node", "_tree", "_rule"},
    "_belief": {"_axes", "_cells", "_node", "_tree"},
    "_bamsoo": {"_belief", "_cells", "_node", "_tree", "_rule", "_soo"},
    "_hybrid": {"_bamsoo", "_belief", "_cells", "_node", "_tree", "_rule", "_soo"},
    "_kernel": set(),
    "_exact": set(),
    "_acquisition": {"_belief", "_exact"},
    "_gp": {"_acquisition", "_belief", "_exact", "_kernel"},
    "_models": {"_axes", "_belief", "_gp"},
    "_space": {"_axes", "_cells", "_growth"},
    "_branching": {"_axes", "_space"},
    "_conditional": {"_axes", "_branching", "_cells", "_growth", "_space"},
    "_again": {"_cells", "_node", "_tree"},
    "_claims": set(),
    "_study": {"_space"},
    "_branches": {"_belief", "_cells", "_record", "_rule", "_space", "_study"},
    "_early": {"_space"},
    "_slices": {"_axes", "_cells", "_growth", "_node", "_tree"},
    "_rest": {
        "_again",
        "_branches",
        "_cells",
        "_inferred",
        "_record",
        "_rule",
        "_space",
        "_study",
    },
    "_record": {"_axes", "_cells", "_claims", "_early", "_node", "_tree", "_rule", "_space"},
    "_misfits": {"_record", "_space"},
    "_arguments": set(),
    "_inferred": {"_branching", "_conditional", "_study"},
    "_constraints": {"_inferred"},
    "_sampler": {
        "_again",
        "_branches",
        "_constraints",
        "_inferred",
        "_misfits",
        "_arguments",
        "_cells",
        "_claims",
        "_early",
        "_record",
        "_rest",
        "_rule",
        "_slices",
        "_space",
        "_study",
    },
    "_latin": {"_arguments", "_axes", "_space"},
    "_nomad_process": set(),
    "_nomad_variables": {"_axes", "_space"},
    "_nomad_run": {"_nomad_process", "_nomad_variables"},
    "_nomad_known": {"_claims", *NOMAD, "_record", "_space"},
    "_nomad": {
        "_inferred",
        "_arguments",
        "_claims",
        "_constraints",
        "_nomad_known",
        *NOMAD,
        "_record",
        "_study",
    },
    "inspection": {
        *("_bamsoo", "_branching", "_cells", "_conditional", "_direct", "_node", "_record"),
        *("_rule", "_soo", "_space", "_tree"),
    },
    "_plot_axes": set(),
    "_plot_cells": {"_plot_axes", "_plot_marks", "inspection"},
    "_plot_marks": {"_plot_axes", "inspection"},
    "visualization": {"_plot_axes", "_plot_cells", "_plot_marks"},
}
TOP = {"__init__", "samplers"}  # they bring all together


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


@pytest.mark.parametrize("module", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_below_it(module: str) -> None:
    rooms = {file.stem for file in files("optuna_partition")}
    names = imported(ROOT / "optuna_partition" / f"{module}.py")
    inside = {name.split(".")[1] for name in names if name.startswith("optuna_partition.")}
    assert inside & rooms <= MAY_IMPORT[module]


def test_every_room_has_its_rule() -> None:
    assert {file.stem for file in files("optuna_partition")} == MAY_IMPORT.keys() | TOP


@pytest.mark.parametrize("module", sorted(CORE))
def test_the_core_knows_no_optuna_no_clock_and_no_randomness(module: str) -> None:
    names = imported(ROOT / "optuna_partition" / f"{module}.py")
    outside = {name.split(".")[0] for name in names} - {"optuna_partition"}
    assert outside <= set(sys.stdlib_module_names) | {"numpy"}
    assert not outside & {"time", "datetime", "random", "secrets", "uuid"}


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
        if file.parent != ROOT / "objectives" / "tune":
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


def test_the_command_decides_how_torch_s_threads_wait_before_it_is_loaded() -> None:
    code = (
        "import os, sys; from objectives.tune import main; status = main(['/no/such.toml']); "
        "assert 'torch' not in sys.modules; "
        "print(status, os.environ['GOMP_SPINCOUNT'])"
    )
    for given, kept in ({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"):
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment | given,
            capture_output=True,
            text=True,
        )
        assert found.stdout.split() == ["2", kept], found.stderr


def test_importing_the_library_imports_no_torch() -> None:
    code = (
        "import sys, optuna_partition; heavy = {'torch', 'botorch', 'plotly', 'transformers'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
