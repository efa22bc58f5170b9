"""A rank that writes down how much of the base it holds: `python sharing_rank.py FOLDER PIPE`."""

from __future__ import annotations

import json
from pathlib import Path
import sys

from torch.distributed.tensor import DTensor

from objectives import rank
from objectives.config import Experiment
from objectives.job import Examiner
from objectives.runner import load_runner


FOLDER = Path(sys.argv.pop(1))


def load(experiment: Experiment, cache: Path | None, test: bool) -> Examiner:
    runner = load_runner(experiment, cache, test=test)
    parameters = list(runner._bench.base.parameters())
    here = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parameters)
    held = {"here": here, "whole": sum(p.numel() for p in parameters)}
    (FOLDER / f"{runner._bench.accelerator.process_index}.json").write_text(json.dumps(held))
    return runner


if __name__ == "__main__":
    rank.main(load)
