"""An experiment for gangs, and the rank that meets faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from objectives.settings.config import Experiment
from objectives.settings.search.ranges import Range
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.study import StudySettings
from objectives.settings.sections.training import TrainingSettings


PARAMS = {"learning_rate": 0.0051234567890123456, "rank": 4, "dropout": 0.2}


FAULTY = Path(__file__).parents[1] / "ranks" / "faulty_rank.py"


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    search = SearchSettings(
        learning_rate=Range(low=1e-6, high=1e30, log=True),
        weight_decay=0.1,
        rank=Range(low=1, high=8),
        alpha=8.0,
        dropout=Range(low=0.0, high=0.5),
        effective_batch=12,
    )
    training = TrainingSettings(validations=2, micro_batch=1)
    study = StudySettings(checkpoints="none")  # all trials are the same, and none is to go on
    return tiny_experiment.model_copy(
        update={"training": training, "search": search, "study": study}
    )
