"""Trials of packs with a task as objective: those of trials alone."""

from __future__ import annotations

import json
from pathlib import Path
import random
from typing import Any

from commands import written
from experiment_files import wide_search
import optuna
import pytest
from test_pack_search import search
from trainings import OTHERS
from trainings import PARAMS
from trainings import run

from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import release
from objectives.objective import LoraObjective
from objectives.pack.runner import PackRunner
from objectives.pack.search import Packs
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner
from objectives.tune import main


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

THREE = [PARAMS | {"alpha": 64}, OTHERS, PARAMS | {"rank": 7, "dropout": 0.0}]


TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: questions.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: {name}
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group `pair` of two tasks.

    With this seed the best answers of a question are no nearer than 4e-4 nats, which is 100 times
    the rounding: scores that count answers are equal, whatever the processor.
    """
    folder, draw = tmp_path_factory.mktemp("tasks"), random.Random(1)
    words = [f" {verb} {noun}" for verb in ("Name", "Sort") for noun in ("song", "river", "9")]
    questions = [
        {
            "query": f"Question {i}: {draw.random()}?",
            "choices": draw.sample(words, 4),
            "first": draw.randrange(4),
            "second": draw.randrange(4),
        }
        for i in range(40)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    for name in ("first", "second"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    group = "group: pair\ntask: [first, second]\naggregate_metric_list: [{metric: acc}]\n"
    (folder / "pair.yaml").write_text(group)
    return folder


@pytest.fixture
def experiment(tiny_experiment: Experiment, tasks: Path) -> Experiment:
    """A search for the best score of the group of two tasks."""
    search = wide_search()
    training = TrainingSettings(validations=2, micro_batch=6)
    scoring = ScoringSettings(objective="pair", tasks=str(tasks))
    parts = {"training": training, "search": search, "scoring": scoring}
    return tiny_experiment.model_copy(update=parts)


@pytest.fixture
def runner(experiment: Experiment, bench: Bench) -> Runner:
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, ["pair"])
    return Runner(experiment, bench, scorer)


@pytest.fixture
def packs(experiment: Experiment, bench: Bench, runner: Runner, tmp_path: Path) -> Packs:
    pack = PackRunner(experiment, bench)
    return Packs(LoraObjective(experiment, runner, tmp_path), pack, 3)


def test_trials_are_those_of_trials_alone(
    packs: Packs, experiment: Experiment, runner: Runner, tmp_path: Path
) -> None:
    """Also one that diverges in the middle of the pack, and whoever takes its place."""
    diverges = PARAMS | {"learning_rate": 1e30}
    study, told = search(packs, [THREE[0], diverges, THREE[1], THREE[2], diverges])
    singles = run(LoraObjective(experiment, runner, tmp_path / "alone"), *THREE)
    trials = [study.trials[n] for n in (0, 2, 3)]
    assert told == [1, 0, 2, 3, 4]
    for trial, single in zip(trials, singles, strict=True):
        assert trial.value == single.value
        assert trial.user_attrs["score_stderr"] == single.user_attrs["score_stderr"]
        assert trial.user_attrs.keys() == single.user_attrs.keys() | {"pack", "marked"}
        assert trial.intermediate_values == {}
    assert [study.trials[n].state.name for n in (1, 4)] == ["FAIL"] * 2


def test_adapters_are_saved_before_they_are_scored(
    packs: Packs, bench: Bench, tmp_path: Path
) -> None:
    def forward_pre_hook(_: object, __: object, arguments: dict[str, Any]) -> None:
        if "position_ids" in arguments:
            raise KeyboardInterrupt

    with bench.base.register_forward_pre_hook(forward_pre_hook, with_kwargs=True):
        with pytest.raises(KeyboardInterrupt):
            search(packs, THREE)
    for number in range(3):
        release(bench, load_adapter(bench, tmp_path / "adapters" / f"{number:04d}"))


def test_the_commands_values_are_those_without_packs(
    tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path
) -> None:
    file = written(tmp_path, tiny_model_folder, alpaca_file)
    text = file.read_text()
    file.write_text(text.replace('test = ["colours"]', 'objective = "colours"'))
    found = []
    for name, arguments in {"alone": [], "packed": ["--pack", "2"]}.items():
        url = f"sqlite:///{tmp_path / name}.db"
        where = ["--storage", url, "--study", name, "--output", str(tmp_path / name)]
        points = ["--sampler", "lhs", "--seed", "1", "--trials", "4", "--search-only"]
        assert main([str(file), *where, *points, *arguments]) == 0
        trials = optuna.load_study(study_name=name, storage=url).trials
        found.append([(t.params, t.value, t.user_attrs["score_stderr"]) for t in trials])
    assert found[0] == found[1]
