"""The command with what is no accuracy as objective: the study's direction follows."""

from __future__ import annotations

from pathlib import Path

from commands import bad
from commands import experiment
from commands import load
from commands import one_thread
from commands import run


__all__ = ["experiment", "one_thread"]  # fixtures

PAGES = """
task: pages
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{query}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
FUNCTIONS = """
def parameters(model, tokenizer):
    return float(sum(p.norm() for n, p in model.named_parameters() if "lora_B" in n))

def one(model, tokenizer):
    return 1
"""


def with_objective(file: Path, scoring: str) -> Path:
    (file.parent / "tasks" / "pages.yaml").write_text(PAGES)
    (file.parent / "command_scores.py").write_text(FUNCTIONS)
    file.write_text(file.read_text().replace("[scoring]", f"[scoring]\n{scoring}"))
    return file


def test_a_perplexity_is_minimised(experiment: Path) -> None:
    file = with_objective(
        experiment, 'objective = "pages"\nmetric = "word_perplexity"\nanswers = 2'
    )
    ended = run(file, "--trials", "2")
    assert ended.returncode == 0, ended.stderr
    study = load(file)
    assert study.direction.name == "MINIMIZE"
    assert study.best_value == min(trial.value or 0.0 for trial in study.trials)
    assert f"word_perplexity on pages {study.best_value:.4f} in trial" in ended.stdout
    page = (file.parent / "runs" / "tiny" / "report" / "report.html").read_text()
    assert "Word_perplexity on pages, minimised" in page and "<h2>Answers</h2>" in page


def test_a_function_chooses_and_another_tests(experiment: Path) -> None:
    """In a pack and alone; the module lies beside the file."""
    scoring = 'objective = "command_scores:parameters"\ndirection = "maximize"'
    file = with_objective(experiment, scoring)
    file.write_text(file.read_text().replace('["colours"]', '["colours", "command_scores:one"]'))
    packed = run(file, "--trials", "2", "--pack", "2", "--search-only")
    assert packed.returncode == 0, packed.stderr
    ended = run(file, "--trials", "3")
    assert ended.returncode == 0, ended.stderr
    study = load(file)
    assert study.direction.name == "MAXIMIZE" and len(study.trials) == 3
    assert all(trial.value is not None and trial.value > 0 for trial in study.trials)
    assert ["pack" in trial.user_attrs for trial in study.trials] == [True, True, False]
    assert ended.stdout.count("command_scores:one score 1.0000 (no error)") == 4
    assert f"best           command_scores:parameters {study.best_value:.4f}" in ended.stdout


def test_mistakes_are_found_before_the_first_training(experiment: Path) -> None:
    file = with_objective(experiment, "objective = {pages = 1, colours = 1}")
    text = file.read_text().replace('["colours"]', "[]")
    for metric, message in {
        '"acc"': "`[scoring] metric` = 'acc': the task 'pages' does not give it; choose one of",
        '{pages = "bits_per_byte", colours = "acc"}': (
            "`[scoring] objective`: a mean has one direction, and its tasks are to "
            "maximize acc on colours, minimize bits_per_byte on pages"
        ),
    }.items():
        file.write_text(text.replace("[scoring]", f"[scoring]\nmetric = {metric}"))
        assert message in bad(file)
    assert not (file.parent / "runs" / "tiny").exists()
