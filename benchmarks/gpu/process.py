"""Plays a part in a process of its own, ends it in time, and says what became of it; no torch."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

from benchmarks.gpu.parts import Part


__all__ = ["FAILED", "SKIPPED", "play", "write"]

ROOT = Path(__file__).parents[2]
FAILED, SKIPPED = 1, 3  # exit statuses of a part that has said why
HOW = {0: "done", FAILED: "failed", SKIPPED: "skipped"}
TAIL = 1500  # characters of the log in the line about a part that could not say why


def write(lines: Path, **found: object) -> None:
    """Appends a line that is on the disk when this returns."""
    with lines.open("a") as file:
        file.write(f"{json.dumps(found)}\n")
        file.flush()
        os.fsync(file.fileno())


def play(part: Part, lines: Path, seconds: float, *, rehearse: bool) -> str:
    """Runs it to its end or to that of its time: "done", "skipped" or "failed".

    Args:
        part: Which.
        lines: Where it appends what it finds; its output goes beside it.
        seconds: It may take.
        rehearse: Whether on a CPU.
    """
    log = lines.with_suffix(".log")
    with log.open("ab") as output:
        output.write(f"==== {part.name}\n".encode())
        output.flush()
        begins = output.tell()
        command = [sys.executable, "-m", "benchmarks.gpu.here", part.name, str(lines.resolve())]
        process = subprocess.Popen(
            [*command, *(["--rehearse"] if rehearse else [])],
            cwd=ROOT,
            env={**os.environ, **_environment(rehearse=rehearse)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        error = _awaited(process, seconds)
    if error is not None:
        tail = log.read_bytes()[begins:].decode(errors="replace")[-TAIL:]
        write(lines, part=part.name, error=error, log=tail)
        return "failed"
    return HOW[process.returncode]


def _awaited(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """What it could not say itself; nothing of it runs afterwards."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"not done within {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode in HOW:
        return None
    return f"ended with status {process.returncode}"


def _environment(*, rehearse: bool) -> dict[str, str]:
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    on_cpu = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if rehearse else {}
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OPTUNA_PARTITION_GPU": "cpu" if rehearse else "1",
        **on_cpu,
    }
