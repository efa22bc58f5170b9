"""Experiment files for the tests: what every one needs, and what a test adds."""

from __future__ import annotations

from pathlib import Path

from objectives.config import Experiment
from objectives.config import load_experiment


ORDER = ["learning_rate", "alpha", "rank", "effective_batch", "weight_decay", "dropout"]
MINIMAL = {"model": 'name = "org/model"', "data": 'train = "org/data"'}


def write(folder: Path, **sections: str) -> Path:
    file = folder / "experiment.toml"
    whole = {**MINIMAL, **sections}
    file.write_text("".join(f"[{name}]\n{body}\n" for name, body in whole.items()))
    return file


def load(folder: Path, **sections: str) -> Experiment:
    return load_experiment(write(folder, **sections))
