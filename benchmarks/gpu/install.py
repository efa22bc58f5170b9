"""Makes an environment on a GPU node from a folder of wheels: `make gpu WHEELS=wheels`.

    python3 benchmarks/gpu/install.py wheels .venv-node

The environment lies over the Python that runs this: what is there is seen and stays as it is, what
is missing or too old comes from the folder. No index is asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
import os
from pathlib import Path
import shutil
import subprocess
import sys


HERE = Path(__file__).parent
ARROW = ("pyarrow", "pandas", "lxml")
SHADOW = """#!/bin/sh
PYTHONPATH="{site}${{PYTHONPATH:+:$PYTHONPATH}}" exec "{python}" "$@"
"""


class CannotInstall(Exception):
    """The message says why."""


def install(wheels: Path, folder: Path) -> None:
    """Fills `folder`, whose `bin/python` then finds what the node has and what the wheels bring.

    Raises:
        CannotInstall: A wheel is missing, or does not fit this Python.
    """
    names = _names(wheels)
    shutil.rmtree(folder, ignore_errors=True)
    python = _environment(folder)
    if python is None:
        _beside(wheels, folder, names)
        return
    into = ["--python", str(python), "install"]
    # the first says what its packages ask for and nobody has; the others are there by name
    _pip([*into, f"--requirement={HERE / 'needed.txt'}"], wheels)
    _pip([*into, "--no-deps", *names], wheels)


def _names(wheels: Path) -> list[str]:
    """Of the packages to install; lm-eval's only where it finds what it needs."""
    names = {wheel.name.partition("-")[0] for wheel in wheels.glob("*.whl")}
    if not names:
        raise CannotInstall(f"{wheels} holds no wheels; `make wheels DIR={wheels}` collects them")
    missing = [name for name in ARROW if name not in names and not _is_there(name)]
    if missing:
        print(f"lm-eval is left out: there is no {', '.join(missing)}", flush=True)
        names -= _tasks()
    return sorted(names)


def _tasks() -> set[str]:
    lines = (HERE / "tasks.txt").read_text().splitlines()
    listed = {line.partition(">")[0] for line in lines if line and not line.startswith("#")}
    return {name.replace("-", "_") for name in listed}


def _environment(folder: Path) -> Path | None:
    """A virtual environment over this Python, which may be in one itself; None without venv."""
    try:
        import venv

        venv.create(folder, symlinks=True)
    except (ImportError, OSError) as error:
        print(f"no virtual environment ({error}): a folder on PYTHONPATH instead", flush=True)
        return None
    (site,) = folder.glob("lib/python*/site-packages")
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in theirs]
    (site / "node.pth").write_text("".join(lines))
    return folder / "bin" / "python"


def _beside(wheels: Path, folder: Path, names: Sequence[str]) -> None:
    """Into a plain folder, where pip cannot see what this Python has."""
    site = (folder / "site").resolve()
    missing = [name for name in names if not _is_there(name)]
    _pip(["install", "--no-deps", f"--target={site}", *missing], wheels)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(SHADOW.format(site=site, python=sys.executable))
    python.chmod(0o755)


def _is_there(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _pip(arguments: Sequence[str], wheels: Path) -> None:
    offline = ["--no-index", f"--find-links={wheels}", "--no-compile", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, *offline],
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},  # which may name indices and versions
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise CannotInstall(
            f"{errors[-1]}; collect for this Python with "
            f"`make wheels DIR=... PYTHON_VERSION={sys.version_info[0]}.{sys.version_info[1]}`"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("wheels", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        install(given.wheels, given.folder)
    except CannotInstall as error:
        shutil.rmtree(given.folder, ignore_errors=True)
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
