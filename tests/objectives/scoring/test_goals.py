"""A function of one's own, and the mean of several tasks, as what a trial is worth."""

from __future__ import annotations

import math
from pathlib import Path
import sys

from optuna.trial import TrialState
import pytest
from trainings import experiment
from trainings import PARAMS
from trainings import run
from transformers import AutoModelForCausalLM
from transformers import PreTrainedModel

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import release
from objectives.objective import LoraObjective
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import ScoringSettings
from objectives.training.runner import direction_of
from objectives.training.runner import load_scorer
from objectives.training.runner import Runner


__all__ = ["experiment"]  # fixtures

FUNCTIONS = """
import random
import torch

def norm(model, tokenizer):
    ids = torch.tensor([tokenizer("Name the river.")["input_ids"]])
    assert not model.training and not torch.is_grad_enabled()
    return model(input_ids=ids).logits.norm()  # a tensor of one number

def drawn(model, tokenizer):
    return random.random()

def broken(model, tokenizer):
    raise ValueError("no rows left\\nat all")

def infinite(model, tokenizer):
    return float("inf")

def text(model, tokenizer):
    return "0.5"

def alone(model):
    return 1.0

no_function = 3
"""


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    return loaded


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module `my_scores`, as an experiment file has it."""
    (tmp_path / "my_scores.py").write_text(FUNCTIONS)
    (tmp_path / "needy.py").write_text("import no_such_package")
    (tmp_path / "raising.py").write_text("raise RuntimeError('no data here')")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_scores", raising=False)
    return tmp_path


def of_function(name: str, folder: Path) -> ScoringSettings:
    return ScoringSettings.model_validate(
        {"objective": name, "direction": "minimize"}, context={"folder": folder}
    )


def with_scoring(experiment: Experiment, scoring: ScoringSettings) -> Experiment:
    return experiment.model_copy(update={"scoring": scoring})


def test_a_function_as_objective(
    experiment: Experiment, bench: Bench, beside: Path, tmp_path: Path
) -> None:
    experiment = with_scoring(experiment, of_function("my_scores:norm", beside))
    scorer = load_scorer(experiment, bench.tokenizer, test=False)
    runner = Runner(experiment, bench, scorer)
    (trial,) = run(LoraObjective(experiment, runner, tmp_path / "runs"), PARAMS)
    adapted = load_adapter(bench, Path(trial.user_attrs["adapter"])).eval()
    ids = bench.tokenizer("Name the river.", return_tensors="pt")["input_ids"]
    assert trial.value == pytest.approx(adapted(input_ids=ids).logits.norm().item())
    release(bench, adapted)
    assert trial.intermediate_values == {} and runner.direction == "minimize"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "my_scores:broken raised ValueError: no rows left"),
        ("infinite", "my_scores:infinite returned inf, which is no finite number"),
        ("text", "my_scores:text returned '0.5', which is no finite number"),
    ],
)
def test_a_function_without_a_number_fails_the_trial(
    experiment: Experiment, bench: Bench, beside: Path, tmp_path: Path, name: str, reason: str
) -> None:
    experiment = with_scoring(experiment, of_function(f"my_scores:{name}", beside))
    runner = Runner(experiment, bench, load_scorer(experiment, bench.tokenizer, test=False))
    (trial,) = run(LoraObjective(experiment, runner, tmp_path / "runs"), PARAMS)
    assert trial.state is TrialState.FAIL and trial.user_attrs["failure"] == reason
    assert not (tmp_path / "runs" / "adapters" / "0000").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_module:score", r"'no_module:score': there is no module no_module in the experiment"),
        ("my_scores:no_score", r"my_scores.py has no function no_score; define it there"),
        ("my_scores:no_function", r"my_scores.py has no function no_function; define it there"),
        ("my_scores:alone", r"takes \(model\), and is called with \(model, tokenizer\)"),
        ("needy:score", r"needy needs no_such_package, which is not installed"),
        ("raising:score", r"importing raising raised RuntimeError: no data here; correct it"),
    ],
)
def test_a_function_that_cannot_be_called_stops_before_the_training(
    bench: Bench, beside: Path, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=rf"^`\[scoring\] objective` = .*{message}"):
        Scorer.load(of_function(name, beside), bench.tokenizer, [name])


def test_every_call_draws_the_same(bench: Bench, beside: Path) -> None:
    scorer = Scorer.load(
        of_function("my_scores:drawn", beside), bench.tokenizer, TEST := ["my_scores:drawn"]
    )
    assert len({scorer.score(bench.base, TEST[0]).value for _ in range(2)}) == 1


def test_a_function_as_test(bench: Bench, beside: Path) -> None:
    settings = ScoringSettings.model_validate(
        {"test": ["my_scores:norm"]}, context={"folder": beside}
    )
    scorer = Scorer.load(settings, bench.tokenizer, settings.test)
    score = scorer.score(bench.base, "my_scores:norm")
    assert score.metric == "score" and score.value > 0 and math.isnan(score.stderr)


def test_a_mean_of_tasks(
    experiment: Experiment, bench: Bench, task_folder: Path, tmp_path: Path
) -> None:
    scoring = ScoringSettings.model_validate(
        {
            "objective": {"beliefs": 3, "last_words": 1},
            "metric": {"beliefs": "brier_score", "last_words": "perplexity"},
            "tasks": str(task_folder),
        }
    )
    experiment = with_scoring(experiment, scoring)
    scorer = load_scorer(experiment, bench.tokenizer, test=False)
    (trial,) = run(LoraObjective(experiment, Runner(experiment, bench, scorer), tmp_path), PARAMS)
    adapted = load_adapter(bench, Path(trial.user_attrs["adapter"]))
    assert scorer is not None
    beliefs = scorer.score(adapted, "beliefs", "brier_score").value
    words = scorer.score(adapted, "last_words", "perplexity").value
    release(bench, adapted)
    assert words > 10 * beliefs > 0
    assert trial.value == pytest.approx(0.75 * beliefs + 0.25 * words)
    kept = trial.user_attrs["scores"]
    assert {task: score for task, (score, _) in kept.items()} == {
        "beliefs": beliefs,
        "last_words": words,
    }


def test_the_error_of_a_mean_is_that_of_independent_scores(
    bench: Bench, task_folder: Path
) -> None:
    scoring = ScoringSettings.model_validate(
        {"objective": {"colours": 3, "last_words": 1}, "tasks": str(task_folder)}
    )
    scorer = Scorer.load(scoring, bench.tokenizer, ["colours", "last_words"])
    found = {
        "colours": Score("colours", "acc", 0.5, 0.04, 50),
        "last_words": Score("last_words", "acc", 0.1, 0.2, 50),
    }
    whole, each = scorer.goals(lambda task: found[task])
    assert whole.value == pytest.approx(0.4) and each == list(found.values())
    assert whole.stderr == pytest.approx(math.sqrt((0.75 * 0.04) ** 2 + (0.25 * 0.2) ** 2))


def test_a_mean_has_one_direction(experiment: Experiment, bench: Bench, task_folder: Path) -> None:
    scoring = ScoringSettings.model_validate(
        {
            "objective": {"beliefs": 1, "colours": 1},
            "metric": {"beliefs": "brier_score", "colours": "acc"},
            "tasks": str(task_folder),
        }
    )
    experiment = with_scoring(experiment, scoring)
    told = "minimize brier_score on beliefs, maximize acc on colours; take tasks"
    with pytest.raises(UserError, match=told):
        direction_of(experiment, load_scorer(experiment, bench.tokenizer, test=False))
