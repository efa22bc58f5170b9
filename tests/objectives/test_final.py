"""The final test: once per choice of trials, with its date, and said when it is made again."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from objectives.bench import Bench
from objectives.config import Experiment
from objectives.final import FINAL
from objectives.final import final_test
from objectives.objective import LoraObjective
from objectives.report import FinalRow
from objectives.runner import Runner
from objectives.score import Scorer
from objectives.search_space import SearchSettings
from objectives.sections import TrainingSettings


@pytest.fixture
def experiment(tiny_experiment: Experiment, task_folder: Path) -> Experiment:
    numbers = {"rank": 4, "alpha": 8, "effective_batch": 16, "weight_decay": 0, "dropout": 0}
    rates = {"low": 1e-6, "high": 1e-1, "log": True}
    search = SearchSettings.model_validate({**numbers, "learning_rate": rates})
    scoring = tiny_experiment.scoring.model_copy(
        update={"test": ["colours"], "tasks": str(task_folder), "best": 1}
    )
    training = TrainingSettings(validations=1)
    return tiny_experiment.model_copy(
        update={"search": search, "scoring": scoring, "training": training}
    )


def test_a_final_test_is_made_once_and_then_shown(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, ["colours"])
    objective = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
    study = optuna.create_study()

    def tested() -> tuple[list[FinalRow], list[str]]:
        said: list[str] = []
        return final_test(experiment, bench, scorer, study, tmp_path, said.append), said

    def search(rate: float) -> None:
        study.enqueue_trial({"learning_rate": rate})
        study.optimize(objective, n_trials=1)

    search(1e-4)
    rows, said = tested()
    date = study.user_attrs[FINAL]["date"]
    assert [row.name for row in rows] == ["base", "PEFT defaults", "trial 0"]
    assert all(0 < error < 0.1 for row in rows for _, error in row.scores.values())
    search(1e-6)  # no better
    again, resaid = tested()
    assert again == rows
    assert resaid == [f"final test: was already made on {date}: shown, not repeated", *said]
    search(1e-2)
    later, told = tested()
    assert [row.name for row in later] == ["base", "PEFT defaults", "trial 2"]
    assert told[0].endswith(f"now flatter; the first was made on {date}, of trials 0")
