"""A rank that writes down how much of the base it holds: `python sharing_rank.py FOLDER PIPE`.

Accelerate takes it for one with a GPU, as it has rules of its own for those.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys

from accelerate.state import AcceleratorState
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from objectives.gang import rank
from objectives.job import Trainer
from objectives.settings.config import Experiment
from objectives.training.runner import load_runner


FOLDER = Path(sys.argv.pop(1))


def load(experiment: Experiment, cache: Path | None, test: bool) -> Trainer:
    runner = load_runner(experiment, cache, test=test)
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    assert runner._bench.accelerator.multi_device
    parameters = list(runner._bench.base.parameters())
    here = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parameters)
    held = {"here": here, "whole": sum(p.numel() for p in parameters)}
    (FOLDER / f"{runner._bench.accelerator.process_index}.json").write_text(json.dumps(held))
    return runner


if __name__ == "__main__":
    rank.main(load)
