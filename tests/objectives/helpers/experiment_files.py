"""Experiment files for the tests: what every one needs, and what a test adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from objectives.errors import UserError
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search.ranges import Range
from objectives.settings.search.space import Choices
from objectives.settings.search.space import SearchSettings


ORDER = ["learning_rate", "alpha", "rank", "effective_batch", "weight_decay", "dropout"]
MINIMAL = {"model": 'name = "org/model"', "data": 'train = "org/data"'}


def write(folder: Path, **sections: str) -> Path:
    file = folder / "experiment.toml"
    whole = {**MINIMAL, **sections}
    file.write_text("".join(f"[{name}]\n{body}\n" for name, body in whole.items()))
    return file


def refusal(folder: Path, **sections: str) -> list[str]:
    """The lines of the error, without the first, which names the file."""
    file = write(folder, **sections)
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    first, *lines = str(caught.value).split("\n")
    assert first == f"{file}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return [line.strip() for line in lines]


def load(folder: Path, **sections: str) -> Experiment:
    return load_experiment(write(folder, **sections))


def wide_search() -> SearchSettings:
    """Of every kind; the largest learning rates diverge."""
    return SearchSettings(
        learning_rate=Range(low=1e-6, high=1e30, log=True),
        weight_decay=Choices(choices=[0.0, 0.1]),
        rank=Range(low=1, high=8),
        alpha=Range(low=1, high=64),
        dropout=Range(low=0.0, high=0.5, step=0.1),
        effective_batch=12,
    )


def studied(experiment: Experiment, **changed: Any) -> Experiment:
    """An experiment whose study is set otherwise."""
    study = experiment.study.model_copy(update=changed)
    return experiment.model_copy(update={"study": study})
