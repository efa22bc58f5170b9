"""Plays one part in this process: `python -m benchmarks.gpu.here precision gpu.jsonl`."""

from __future__ import annotations

import argparse
import gc
import importlib
from pathlib import Path
import sys
import tempfile
import time
import traceback

from benchmarks.gpu.process import FAILED
from benchmarks.gpu.process import SKIPPED
from benchmarks.gpu.process import write
from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("part")
    parser.add_argument("lines", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    start = time.monotonic()

    def found(**what: object) -> None:
        at = round(time.monotonic() - start, 1)
        write(given.lines, part=given.part, at=at, **_rounded(what))

    with tempfile.TemporaryDirectory() as folder:
        return _play(given.part, Stage(not given.rehearse, Path(folder), found))


def _play(part: str, stage: Stage) -> int:
    try:
        if stage.on_gpu:
            _check_gpu()
        module = importlib.import_module(f"benchmarks.gpu.{part}")
        gc.freeze()  # as a worker does: every training ends with a collection
        module.run(stage)
    except Skipped as reason:
        stage.write(skipped=str(reason))
        return SKIPPED
    except Exception as error:
        traceback.print_exc()
        stage.write(error=f"{type(error).__name__}: {error}"[:1500])
        return FAILED
    return 0


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device; `--rehearse` runs on a CPU")


def _rounded(what: dict[str, object]) -> dict[str, object]:
    return {n: float(f"{v:.5g}") if isinstance(v, float) else v for n, v in what.items()}


if __name__ == "__main__":
    sys.exit(main())
