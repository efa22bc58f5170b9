"""Collects what a GPU node without a network lacks, as wheels: `make wheels DIR=wheels`.

    python benchmarks/gpu/wheels.py wheels --python-version 3.12 --with "pyarrow pandas lxml"

It runs where there is a network, on any Python with pip, for the node's Python and processor.
needed.txt, pure.txt and tasks.txt say what is taken, and constraints.txt in which version.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import re
import subprocess
import sys
from zipfile import ZIP_DEFLATED
from zipfile import ZipFile


HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
GLIBC = range(28, 4, -1)  # minor versions that a node may be asked to have
LIBRARY = re.compile(r".*/libbitsandbytes_(\w+)\.so")


class Missing(Exception):
    """The message says what could not be had."""


def collect(folder: Path, python: str, machine: str, more: Sequence[str]) -> None:
    """Downloads the wheels and builds ours.

    Args:
        folder: Made if needed.
        python: The node's version, "3.12".
        machine: The node's processor as `uname -m` names it.
        more: Requirements beside the lists.

    Raises:
        Missing: Something cannot be had for that Python and processor.
    """
    tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    tags += [f"manylinux{name}_{machine}" for name in ("2014", "2010", "1")]
    here = ["--implementation=cp", *(f"--platform={tag}" for tag in tags)]
    everywhere = ["--implementation=py", "--abi=none", "--platform=any"]
    lists = {name: f"--requirement={HERE / name}.txt" for name in ("needed", "tasks", "pure")}
    for where, what in (
        (here, [lists["needed"], lists["tasks"], *more]),
        (everywhere, [lists["pure"]]),
    ):
        fitting = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *where]
        version = f"--constraint={ROOT / 'constraints.txt'}"
        _pip("download", [*fitting, version, *what, f"--dest={folder}"], f"Python {python}")
    _pip("wheel", ["--no-deps", f"--wheel-dir={folder}", str(ROOT)], "optuna-partition")


def _pip(command: str, arguments: Sequence[str], what: str) -> None:
    done = subprocess.run([*PIP, command, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = errors[:2] or done.stderr.splitlines()[-1:]
        raise Missing(f"wheels for {what}: {'; '.join(said)}")


def for_one_cuda(wheel: Path, cuda: str) -> None:
    """Leaves of bitsandbytes what one CUDA needs: 4 of 43 MB.

    Raises:
        Missing: It has no library for that.
    """
    kept = {"cpu", f"cuda{cuda.replace('.', '')}"}
    part = wheel.with_suffix(".part")
    with ZipFile(wheel) as whole, ZipFile(part, "w", ZIP_DEFLATED) as smaller:
        libraries = {m[0]: m[1] for m in map(LIBRARY.fullmatch, whole.namelist()) if m}
        if not kept <= set(libraries.values()):
            there = ", ".join(sorted(libraries.values()))
            raise Missing(f"bitsandbytes for CUDA {cuda}: it has libraries for {there}")
        dropped = {name for name, of in libraries.items() if of not in kept}
        for name in set(whole.namelist()) - dropped:
            content = whole.read(name)
            if name.endswith("/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(x for x in lines if x.split(",")[0] not in dropped).encode()
            smaller.writestr(whole.getinfo(name), content, ZIP_DEFLATED)
    part.replace(wheel)


def _version(text: str) -> str:
    if not re.fullmatch(r"3\.\d+", text) or int(text.partition(".")[2]) < 11:
        raise argparse.ArgumentTypeError(f"{text!r} must be a Python from 3.11 on, such as 3.12")
    return text


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python-version", type=_version, default="3.12", help="the node's")
    parser.add_argument("--machine", default="x86_64", help="the node's processor")
    parser.add_argument("--cuda", help="the node's, such as 13.0: bitsandbytes for it")
    parser.add_argument("--with", dest="more", type=str.split, default=[], help="more packages")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    more = given.more + (["bitsandbytes"] if given.cuda else [])
    try:
        collect(given.folder, given.python_version, given.machine, more)
        for wheel in given.folder.glob("bitsandbytes-*.whl") if given.cuda else ():
            for_one_cuda(wheel, given.cuda)
    except Missing as error:
        print(
            f"error: {error}; look at the network, at the node's Python, processor and CUDA, "
            f"or at the lists in {HERE.relative_to(ROOT)}",
            file=sys.stderr,
        )
        return 1
    wheels = list(given.folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    print(f"{len(wheels)} wheels of {size:.1f} MB in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
