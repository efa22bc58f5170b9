"""Fixtures: what a search on the tiny model leaves in its folder, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil

import optuna
import pytest
from trainings import PARAMS

from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.result.best_adapter import save_best
from objectives.settings.config import Experiment
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


Searched = Callable[..., Path]


@pytest.fixture(scope="session")
def searched(
    tiny_experiment: Experiment, loaded: Bench, tmp_path_factory: pytest.TempPathFactory
) -> Searched:
    """Makes a study's folder, with other settings of `[data]` and `[training]` if wanted."""

    def make(**sections: dict[str, object]) -> Path:
        training = TrainingSettings(epochs=8.0, **sections.get("training", {}))
        data = tiny_experiment.data.model_copy(update=sections.get("data", {}))
        search = SearchSettings.model_validate({"rank": {"low": 1, "high": 64}})
        update = {"training": training, "data": data, "search": search}
        experiment = tiny_experiment.model_copy(update=update)
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        url = f"sqlite:///{folder}/study.db"
        folder.mkdir()
        study = optuna.create_study(study_name="tiny", storage=url)
        study.enqueue_trial({**PARAMS, "weight_decay": 0.01, "dropout": 0.0, "effective_batch": 8})
        objective = LoraObjective(experiment, Runner(experiment, loaded, None), folder)
        study.optimize(objective, n_trials=1)
        assert save_best(experiment, study, [], folder) is not None
        return folder

    return make


@pytest.fixture(scope="session")
def kept(searched: Searched) -> Path:
    """The folder of a study, which nobody changes."""
    return searched()


@pytest.fixture
def run_folder(kept: Path, tmp_path: Path) -> Path:
    """A copy to write in, without the trials' adapters and the study."""
    return Path(shutil.copytree(kept, tmp_path / "tiny"))
