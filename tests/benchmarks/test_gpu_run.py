"""The run on a GPU node: parts that go wrong, and an environment from wheels without an index."""

from __future__ import annotations

from importlib.metadata import requires
import json
from pathlib import Path
import re
import subprocess
import sys
import time
import tomllib
from typing import Any
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest


sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.parts import Part
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.process import play
from benchmarks.gpu.wheels import for_one_cuda
from benchmarks.gpu.wheels import Missing


ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"
BAD_PARTS = {
    "fine": "stage.write(found=1 / 3)",
    "hangs": (
        "import subprocess, time; child = subprocess.Popen(['sleep', '600']);"
        "stage.write(child=child.pid); time.sleep(600)"
    ),
    "dies": "import os; print('the last words', flush=True); os.kill(os.getpid(), 9)",
    "raises": "stage.write(found=1); raise ValueError('the reason')",
    "leaves": "import sys; sys.exit(1)",
    "needs": "from benchmarks.gpu.stage import Skipped; raise Skipped('two GPUs are needed')",
}


@pytest.fixture
def bad_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules beside those of benchmarks/gpu."""
    folder = tmp_path / "more" / "benchmarks" / "gpu"
    folder.mkdir(parents=True)
    for name, code in BAD_PARTS.items():
        (folder / f"{name}.py").write_text(f"def run(stage):\n    {code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "more"))


@pytest.mark.usefixtures("bad_parts")
def test_whatever_becomes_of_a_part_is_in_its_lines(tmp_path: Path) -> None:
    lines, limits = tmp_path / "gpu.jsonl", {"hangs": 5.0}
    ended = {
        name: play(Part(name, 1, 60, ""), lines, limits.get(name, 60), rehearse=True)
        for name in BAD_PARTS
    }
    assert ended == {
        "fine": "done",
        "hangs": "failed",
        "dies": "failed",
        "raises": "failed",
        "leaves": "failed",
        "needs": "skipped",
    }
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, lines.read_text().splitlines()):
        found.setdefault(line["part"], {}).update(line)
    assert found["fine"]["found"] == 0.33333
    assert found["hangs"]["error"] == "not done within 5 s"
    assert is_gone(found["hangs"]["child"])
    assert found["dies"]["error"] == "ended with status -9"
    assert found["dies"]["log"] == "the last words\n"
    assert (found["raises"]["found"], found["raises"]["error"]) == (1, "ValueError: the reason")
    assert found["leaves"]["error"] == "ended with status 1"
    assert found["needs"]["skipped"] == "two GPUs are needed"
    assert "the last words" in (tmp_path / "gpu.log").read_text()


def is_gone(pid: int) -> bool:
    """Or only waits for its parent to notice."""
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_parts_that_do_not_fit_in_the_time_are_passed_over(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--minutes", "0.01", "--rehearse"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == [part.name for part in PARTS]
    assert all("s are left" in line["skipped"] for line in lines)


def listed(name: str) -> list[Requirement]:
    lines = (GPU / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def needs(name: str) -> set[str]:
    """What a package asks for on this machine, without its extras."""
    wanted = map(Requirement, requires(name) or ())
    return {
        canonicalize_name(r.name)
        for r in wanted
        if r.marker is None or r.marker.evaluate({"extra": ""})
    }


def test_the_list_of_what_a_node_lacks_is_whole() -> None:
    there, new = set(), {"torch", "transformers", "accelerate", "botorch"}
    while new:
        there |= new
        new = {need for name in new for need in needs(name)} - there
    brought = [
        canonicalize_name(r.name) for file in ("needed.txt", "pure.txt") for r in listed(file)
    ]
    missing = {name: needs(name) - there - set(brought) for name in brought}
    assert not {name: more for name, more in missing.items() if more}


def test_the_lists_ask_for_what_the_extras_ask_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    known = [*project["dependencies"], *extras["llm"], *extras["test"]]
    for file in ("needed.txt", "tasks.txt"):
        bounded = {str(r) for r in listed(file) if r.specifier}
        assert bounded and bounded <= {str(Requirement(text)) for text in known}


def wheel(folder: Path, name: str, tag: str = "py3-none-any", **files: str) -> Path:
    """The smallest that pip takes."""
    info = f"{name}-1.0.dist-info"
    contents = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **files,
    }
    contents[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in contents)
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-1.0-{tag}.whl"
    with ZipFile(file, "w") as archive:
        for each, text in contents.items():
            archive.writestr(each, text)
    return file


def installed(tmp_path: Path, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """By install.py, after some code."""
    arguments = ["install.py", str(tmp_path / "wheels"), str(tmp_path / "node")]
    code = f"import runpy, sys; {before}; sys.argv = {arguments}; "
    code += f"runpy.run_path({str(GPU / 'install.py')!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("before", ["pass", "sys.modules['venv'] = None"], ids=["venv", "no venv"])
def test_an_environment_has_what_the_node_has_and_what_the_wheels_bring(
    tmp_path: Path, before: str
) -> None:
    wheel(tmp_path / "wheels", "from_a_wheel")
    done = installed(tmp_path, before)
    assert done.returncode == 0, done.stderr
    assert ("a folder on PYTHONPATH" in done.stdout) == (before != "pass")
    code = "import from_a_wheel, optuna, torch; print(from_a_wheel.__file__, torch.__file__)"
    python = [str(tmp_path / "node" / "bin" / "python"), "-c", code]
    found = subprocess.run(python, capture_output=True, text=True)
    ours, theirs = found.stdout.split()
    assert str(tmp_path) in ours and str(tmp_path) not in theirs


def test_wheels_that_do_not_fit_or_are_not_there_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    done = installed(tmp_path)
    assert done.returncode == 1
    assert "holds no wheels; `make wheels DIR=" in done.stderr
    wheel(tmp_path / "wheels", "from_a_wheel", tag="cp39-cp39-manylinux1_x86_64")
    done = installed(tmp_path)
    assert done.returncode == 1
    assert re.search(r"No matching distribution.*from_a_wheel.*PYTHON_VERSION=3", done.stderr)
    assert not (tmp_path / "node").exists()


def test_bitsandbytes_is_cut_down_to_one_cuda(tmp_path: Path) -> None:
    names = [f"bitsandbytes/libbitsandbytes_{of}.so" for of in ("cpu", "cuda118", "cuda130")]
    file = wheel(tmp_path, "bitsandbytes", **dict.fromkeys(names, "machine code"))
    with pytest.raises(Missing, match="CUDA 14.0: it has libraries for cpu, cuda118, cuda130"):
        for_one_cuda(file, "14.0")
    for_one_cuda(file, "13.0")
    with ZipFile(file) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        assert sorted(libraries) == [names[0], names[2]]
        record = archive.read("bitsandbytes-1.0.dist-info/RECORD").decode()
    assert names[1] not in record and names[2] in record
