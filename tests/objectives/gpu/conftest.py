"""Tests that need a GPU: `make gpu`. Everywhere else GPUs are hidden from the tests.

`make gpu REHEARSE=1` runs them on a CPU, which shows no more than that they can run.
"""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path

from accelerate.state import AcceleratorState
import pytest
import torch

from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.settings.config import Experiment


WANTED = os.environ.get("OPTUNA_PARTITION_GPU", "")
REASON = "needs a GPU; run `make gpu` where there is one"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and not WANTED:
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(autouse=True, scope="session")
def a_gpu_is_there() -> None:
    assert WANTED == "cpu" or torch.cuda.is_available(), "torch finds no CUDA device"


@pytest.fixture
def load(tiny_experiment: Experiment) -> Callable[[str], Bench]:
    """A bench whose base has the type; with autocast where it is half precision on a GPU."""

    def loaded(dtype: str) -> Bench:
        AcceleratorState._reset_state(True)  # which has one precision for a process
        model = tiny_experiment.model.model_copy(update={"dtype": dtype})
        return load_bench(tiny_experiment.model_copy(update={"model": model}))

    return loaded
