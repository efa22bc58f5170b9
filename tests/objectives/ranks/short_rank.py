"""A rank with little memory while it loads: `python short_rank.py RANK ROWS PIPE`.

That rank has none for a forward of more rows than so many, but for the check of the base.
"""

from __future__ import annotations

import os
from pathlib import Path
import sys
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from objectives.gang import rank
from objectives.job import Trainer
from objectives.settings.config import Experiment
from objectives.training.runner import load_runner


SHORT, ROWS = int(sys.argv.pop(1)), int(sys.argv.pop(1))
CHECKED = 2  # tokens of each row with which a base is tried out


def little_memory(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    if not isinstance(module, nn.Embedding):
        return
    rows, tokens = arguments[0].shape
    if rows > ROWS and tokens > CHECKED:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def load(experiment: Experiment, cache: Path | None, test: bool) -> Trainer:
    if int(os.environ.get("RANK", "0")) != SHORT:
        return load_runner(experiment, cache, test=test)
    hook = register_module_forward_pre_hook(little_memory)
    try:
        return load_runner(experiment, cache, test=test)
    finally:
        hook.remove()


if __name__ == "__main__":
    rank.main(load)
