"""config and search_space: what a file may say, and what becomes of it."""

from __future__ import annotations

import logging
from pathlib import Path
import pickle

from experiment_files import load
from experiment_files import ORDER
from experiment_files import write
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from objectives.settings.config import load_experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import PEFT_DEFAULTS
from objectives.settings.search.space import SearchSettings


EXAMPLES = Path(__file__).parents[3] / "examples"


def test_a_minimal_file_has_the_papers_space(tmp_path: Path) -> None:
    experiment = load(tmp_path)
    assert experiment.model.name == "org/model"
    assert list(experiment.search_space()) == ORDER
    assert experiment.search_space() == {
        "learning_rate": FloatDistribution(1e-10, 1e-1, log=True),
        "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
        "rank": IntDistribution(2, 64),
        "alpha": IntDistribution(1, 64),
        "dropout": FloatDistribution(0.0, 0.5),
        "effective_batch": IntDistribution(4, 64, log=True),
    }
    assert experiment.direction == "minimize"


def test_every_kind_of_entry(tmp_path: Path) -> None:
    search = """
        learning_rate = 3e-4
        weight_decay = {low = 0.0, high = 0.1, step = 0.02}
        rank = {choices = [4, 8, 16]}
        alpha = {low = 0.5, high = 4, integer = false}
        dropout = 0
        effective_batch = {low = 8, high = 32, step = 8}
    """
    experiment = load(tmp_path, search=search)
    space = experiment.search_space()
    assert space == {
        "weight_decay": FloatDistribution(0.0, 0.1, step=0.02),
        "rank": CategoricalDistribution([4, 8, 16]),
        "alpha": FloatDistribution(0.5, 4.0),
        "effective_batch": IntDistribution(8, 32, step=8),
    }
    ranks = space["rank"]
    assert isinstance(ranks, CategoricalDistribution)
    assert all(isinstance(choice, int) for choice in ranks.choices)
    params = {"weight_decay": 0.02, "rank": 8, "alpha": 0.75, "effective_batch": 16}
    assert experiment.hyperparameters(params) == Hyperparameters(3e-4, 0.02, 8, 0.75, 0.0, 16)


def test_kinds_of_adapter_are_searched_after_the_numbers(tmp_path: Path) -> None:
    search = """
        dora = {choices = [false, true]}
        targets = {choices = ["all-linear", "attention", ["q_proj", "v_proj"]]}
        rslora = {choices = [true, false]}
    """
    experiment = load(tmp_path, search=search)
    space = experiment.search_space()
    assert list(space) == [*ORDER, "targets", "rslora", "dora"]
    assert space["targets"] == CategoricalDistribution(
        ["all-linear", "attention", "q_proj+v_proj"]
    )
    assert space["rslora"] == CategoricalDistribution([True, False])
    numbers = {name: 1 for name in ORDER}
    params = {**numbers, "targets": "q_proj+v_proj", "rslora": False, "dora": True}
    got = experiment.hyperparameters(params)
    assert (got.targets, got.rslora, got.dora) == ("q_proj+v_proj", False, True)
    assert got.told()["dora"] == "True" and got.told()["rank"] == "1"
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_kinds_that_are_not_searched_are_left_to_training(tmp_path: Path) -> None:
    experiment = load(tmp_path, training="dora = true")
    got = experiment.hyperparameters({name: 1 for name in ORDER})
    assert (got.targets, got.rslora, got.dora) == (None, None, None)
    assert list(got.told()) == list(Hyperparameters.__dataclass_fields__)[:6]


def test_whole_hyperparameters_are_python_ints() -> None:
    settings = SearchSettings.model_validate({"rank": 8, "alpha": 16, "effective_batch": 4})
    got = settings.hyperparameters({"learning_rate": 1e-3, "weight_decay": 0.0, "dropout": 0.1})
    assert [type(v) for v in (got.rank, got.alpha, got.effective_batch)] == [int, int, int]


def test_peft_defaults_are_pefts() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig()
    ours = (PEFT_DEFAULTS.rank, PEFT_DEFAULTS.alpha, PEFT_DEFAULTS.dropout)
    assert ours == (config.r, config.lora_alpha, config.lora_dropout)


@given(
    low=st.floats(1e-12, 0.4),
    ratio=st.floats(1.01, 100),
    log=st.booleans(),
    name=st.sampled_from(["learning_rate", "weight_decay"]),
)
def test_a_range_becomes_its_distribution(low: float, ratio: float, log: bool, name: str) -> None:
    entry = {"low": low, "high": low * ratio, "log": log}
    settings = SearchSettings.model_validate({name: entry})
    assert settings.distributions()[name] == FloatDistribution(low, low * ratio, log=log)


def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    file = write(
        tmp_path, model='name = "base"', data='train = "./rows.jsonl"', scoring='tasks = "tasks"'
    )
    monkeypatch.chdir(file.parent.parent)
    experiment = load_experiment(file.relative_to(file.parent.parent))
    assert experiment.model.name == str(tmp_path / "base")
    assert experiment.data.train == str(tmp_path / "rows.jsonl")
    assert experiment.scoring.tasks == str(tmp_path / "tasks")


def test_an_experiment_travels_to_other_processes(tmp_path: Path) -> None:
    experiment = load(tmp_path, search="rank = {choices = [2, 4]}")
    assert pickle.loads(pickle.dumps(experiment)) == experiment


@pytest.mark.parametrize("name", ["llama_1b_alpaca", "tinyllama_alpaca", "standin"])
def test_examples_load(name: str) -> None:
    experiment = load_experiment(EXAMPLES / f"{name}.toml")
    assert list(experiment.search_space()) == ORDER
    assert experiment.study.name == name


def test_the_same_task_is_allowed_by_name_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scoring = 'objective = "mmlu"\ntest = ["mmlu"]\nsame_task = true'
    with caplog.at_level(logging.WARNING):
        load(tmp_path, scoring=scoring)
    assert "mmlu is objective and test" in caplog.text
