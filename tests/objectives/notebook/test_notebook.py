"""What a notebook calls: the page's example runs, and each mistake has one message."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
import io
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from few_tasks import few_of_lm_eval
import optuna
from peft import PeftModel
import pytest
from trainings import OTHERS
from trainings import PARAMS
from transformers import AutoModelForCausalLM

import objectives
from objectives import best_adapter
from objectives import Experiment
from objectives import load_experiment
from objectives import LoraObjective
from objectives import score
from objectives import train_once
from objectives import UserError
from objectives.job import Validation
from objectives.training.shared import shared_runner


__all__ = ["few_of_lm_eval"]  # a fixture

# peft 0.21, transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")

ROOT = Path(__file__).parents[3]
CHOSEN = {**PARAMS, "dropout": 0.0, "effective_batch": 12}


@pytest.fixture(scope="module")
def sections(tiny_model_folder: Path, alpaca_file: Path) -> dict[str, Any]:
    return {
        "model": {"name": str(tiny_model_folder), "dtype": "float32"},
        "data": {"train": str(alpaca_file), "validation_rows": 16, "mask_prompt": True},
        "training": {"validations": 2},
        "search": {"rank": 4, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    }


@pytest.fixture(scope="module")
def small(sections: dict[str, Any]) -> Experiment:
    return Experiment.from_dict(sections)


def test_the_page_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()) as told:
        for block in blocks:
            exec(compile(block, "python.md", "exec"), names)
    trained, study = names["trained"], names["study"]
    assert (tmp_path / "my_adapter" / "adapter_model.safetensors").is_file()
    lines = told.getvalue().splitlines()
    assert f"value={trained.loss}" in lines[2] and "task='standin_test'" in lines[3]
    assert lines[4] == f"{study.best_value} {best_adapter(study)}"


def test_a_dictionary_is_what_its_file_says(sections: dict[str, Any], tmp_path: Path) -> None:
    lines = []
    for name, keys in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items())]
    file = tmp_path / "same.toml"
    file.write_text("\n".join(lines))
    assert Experiment.from_dict(sections, tmp_path) == load_experiment(file)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def test_relative_paths_start_at_the_folder(sections: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    data = {"data": {"train": "rows.jsonl"}}
    assert Experiment.from_dict({**sections, **data}, tmp_path).data.train == str(
        tmp_path / "rows.jsonl"
    )


def test_a_training_is_a_trial_s(small: Experiment, tmp_path: Path) -> None:
    seen: list[Validation] = []
    trained = train_once(small, on_validation=seen.append, **CHOSEN)
    objective = LoraObjective(small, folder=tmp_path)
    study = optuna.create_study(direction=objective.direction)
    study.enqueue_trial({n: v for n, v in CHOSEN.items() if n != "rank"})
    with pytest.raises(ValueError, match="`0.0` is invalid value for the case log=True"):
        study.optimize(objective, n_trials=1)  # weight decay is searched on a log scale
    value = objective(optuna.trial.FixedTrial({**CHOSEN, "weight_decay": 1e-5}))
    again = train_once(small, **{**CHOSEN, "weight_decay": 1e-5})
    assert again.value == again.loss == value
    assert list(trained.validations) == seen and len(seen) == 2
    assert trained.loss == seen[-1].loss


def test_an_adapter_is_saved_for_peft_and_scored(
    small: Experiment, tiny_model_folder: Path, tmp_path: Path
) -> None:
    trained = train_once(small, **CHOSEN)
    folder = trained.save(tmp_path / "mine")
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    assert isinstance(PeftModel.from_pretrained(base, folder), PeftModel)
    assert score(small, trained).value == score(small, folder).value == trained.loss
    assert score(small).value > trained.loss, "the base has learned nothing"
    with pytest.raises(UserError, match="mine: is there and not empty; give another folder"):
        trained.save(tmp_path / "mine")


def test_a_score_on_tasks(sections: dict[str, Any], small: Experiment, task_folder: Path) -> None:
    """Of several the weighted mean, and of one by name its own; the base is not loaded again."""
    scoring = {
        "objective": {"beliefs": 3, "last_words": 1},
        "metric": {"beliefs": "brier_score", "last_words": "perplexity"},
        "tasks": str(task_folder),
    }
    several = Experiment.from_dict({**sections, "scoring": scoring})
    whole = score(several)
    each = [score(several, on=task).value for task in ("beliefs", "last_words")]
    assert whole.value == pytest.approx((3 * each[0] + each[1]) / 4)
    assert each[1] > 10 * each[0] > 0
    assert LoraObjective(several).direction == "minimize"
    assert shared_runner(several).bench.base is shared_runner(small).bench.base


def test_what_is_left_out_is_fixed_by_the_search_or_peft_s(small: Experiment) -> None:
    chosen = train_once(small, learning_rate=1e-3, effective_batch=32, rslora=True).hyperparameters
    assert (chosen.rank, chosen.alpha, chosen.dropout, chosen.rslora) == (4, 8, 0.0, True)


def test_the_best_adapter_is_of_the_best_trial(small: Experiment, tmp_path: Path) -> None:
    objective = LoraObjective(small, folder=tmp_path)
    study = optuna.create_study()
    for params in (CHOSEN, OTHERS):
        study.enqueue_trial({**params, "weight_decay": 1e-5, "effective_batch": 12})
    study.optimize(objective, n_trials=2)
    number = study.best_trial.number
    assert best_adapter(study) == tmp_path / "adapters" / f"{number:04d}"


def test_a_cell_that_runs_twice_leaves_the_adapters_of_both_studies(
    small: Experiment, tmp_path: Path
) -> None:
    there = small.study.model_copy(update={"output": str(tmp_path)})
    objective = LoraObjective(small.model_copy(update={"study": there}))
    folders = []
    for params in (CHOSEN, OTHERS):
        study = optuna.create_study()
        study.enqueue_trial({**params, "weight_decay": 1e-5, "effective_batch": 12})
        study.optimize(objective, n_trials=1)
        folders.append((study.best_value, best_adapter(study)))
    for value, folder in folders:
        assert score(small, folder).value == value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: train_once(e, rnak=3), "rnak: there is no such hyperparameter; did you mean"),
        (lambda e: train_once(e, rank=2.5), "rank = 2.5: must be a whole number; for example 2"),
        (lambda e: train_once(e, rank="8"), 'rank = "8": must be a number; usual values are'),
        (lambda e: train_once(e, dropout=1.0), "dropout = 1.0: must be >= 0 and < 1; at 1 the"),
        (lambda e: train_once(e, alpha=float("inf")), "alpha = inf: must be a number"),
        (lambda e: train_once(e, dora=3), "dora = 3: must be true or false; leave it out for"),
        (lambda e: train_once(e, learning_rate=1e30), "loss was nan at step"),
        (lambda e: train_once(e, beta=0.5), "beta = 0.5: is of preferences, and the training has"),
        (
            lambda e: train_once(e, dora=True, init_lora_weights="pissa"),
            "init_lora_weights = 'pissa': takes a part out of whole weights, which dora = true",
        ),
        (lambda e: score(e, "nowhere"), "nowhere: holds no adapter; give the folder that"),
        (lambda e: score(e, on="preference_accuracy"), "is of preferences, and the training has"),
        (lambda e: score(e, on="nope"), "`on` = 'nope': there is no such task in lm-eval"),
        (lambda e: score(e, on="nowhere:score"), "there is no module nowhere"),
        (lambda e: best_adapter(optuna.create_study(study_name="s")), "s: no adapter of its"),
        (lambda e: Experiment.from_dict({}), "experiment: 2 problems"),
        (
            lambda e: Experiment.from_dict({"model": 3, "data": {"train": "a/b"}}),
            "model = 3: must",
        ),
        (
            lambda e: optuna.create_study(direction="maximize").optimize(LoraObjective(e), 1),
            "direction = 'maximize': the objective, validation loss, is to minimize; make the",
        ),
    ],
)
@pytest.mark.usefixtures("few_of_lm_eval")
def test_mistakes_have_one_message(
    small: Experiment, call: Callable[[Experiment], object], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        call(small)
    assert message in str(refused.value)


def test_a_function_without_a_number_is_told(
    sections: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebook_scores.py").write_text("def nothing(model, tokenizer): return None\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    scoring = {"objective": "notebook_scores:nothing", "direction": "maximize"}
    experiment = Experiment.from_dict({**sections, "scoring": scoring}, tmp_path)
    with pytest.raises(UserError, match="there is no score: .* returned None, which is no finite"):
        score(experiment)


def test_a_base_in_shares_is_the_command_s(sections: dict[str, Any]) -> None:
    model = {**sections["model"], "sharded": True}
    experiment = Experiment.from_dict({**sections, "model": model, "study": {"gpus_per_trial": 2}})
    with pytest.raises(UserError, match="sharded` = true: shares are for several processes"):
        train_once(experiment)


def test_the_import_is_light_and_names_are_found_when_used() -> None:
    code = (
        "import sys, objectives\n"
        "assert not {'torch', 'optuna', 'pydantic', 'transformers'} & set(sys.modules)\n"
        "from objectives import Experiment, LoraObjective, load_experiment\n"
        "import os; assert 'torch' not in sys.modules and os.environ['GOMP_SPINCOUNT'] == '1000'\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    assert set(objectives.__all__) == set(dir(objectives))
    assert all(getattr(objectives, name) is not None for name in objectives.__all__)
    with pytest.raises(AttributeError, match="module 'objectives' has no attribute 'tarin'"):
        objectives.tarin  # noqa: B018
