"""`[scoring]`: its forms, what a value is called, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path
import pickle

from experiment_files import load
import pytest

from objectives.errors import UserError


@pytest.mark.parametrize(
    ("scoring", "direction", "name"),
    [
        ("", "minimize", "validation loss"),
        ('objective = "hellaswag"', None, "acc on hellaswag"),
        (
            'objective = "wikitext"\nmetric = "word_perplexity"',
            None,
            "word_perplexity on wikitext",
        ),
        ('objective = "mine:score"\ndirection = "maximize"', "maximize", "mine:score"),
        ('objective = "t"\nmetric = "odd"\ndirection = "minimize"', "minimize", "odd on t"),
        (
            "objective = {hellaswag = 2, arc_easy = 0.5}",
            None,
            "mean of acc on arc_easy (weight 0.5), acc on hellaswag (weight 2)",
        ),
        (
            'objective = {gsm8k = 1, drop = 1}\nmetric = {gsm8k = "exact_match", drop = "f1"}',
            None,
            "mean of f1 on drop (weight 1), exact_match on gsm8k (weight 1)",
        ),
    ],
)
def test_what_a_value_is(tmp_path: Path, scoring: str, direction: str | None, name: str) -> None:
    experiment = load(tmp_path, scoring=scoring)
    assert (experiment.direction, experiment.scoring.in_words) == (direction, name)
    short = experiment.value_name
    assert short == ("mean score of 2 tasks" if name.startswith("mean") else name)


def test_a_function_s_module_may_lie_beside_the_file_in_other_processes_too(
    tmp_path: Path,
) -> None:
    scoring = load(tmp_path, scoring='objective = "a.b:c"\ndirection = "minimize"').scoring
    assert pickle.loads(pickle.dumps(scoring)).file_folder == str(tmp_path)


@pytest.mark.parametrize(
    ("scoring", "line"),
    [
        ('objective = ""', 'objective = "": must be a name, or a table of tasks'),
        ("objective = 3", "objective = 3: must be a name, or a table of tasks"),
        ("objective = {}", "objective = {}: must be a name, or a table of tasks"),
        ("objective = {mmlu = 0}", "objective = {mmlu = 0}: the weight of mmlu must be a number"),
        ("objective = {mmlu = true}", "the weight of mmlu must be a number > 0; write mmlu = 1"),
        ("objective = {loss = 1}", "objective = {loss = 1}: loss is no lm-eval task"),
        ('objective = "./mine.py:score"', "it names a module and a function of yours; write"),
        ('objective = "mine:score"', "nobody but you knows whether more of it is better; write"),
        ('direction = "maximize"', 'direction = "maximize": contradicts the objective, which is'),
        ('direction = "up"', "direction = \"up\": must be 'minimize' or 'maximize'"),
        ("metric = []", "metric = []: must be a metric, or a table of them"),
        (
            'objective = "mmlu"\nmetric = {mmul = "acc"}',
            'metric = {mmul = "acc"}: mmul is no task here; did you mean mmlu?',
        ),
        (
            'objective = {a = 1, b = 1}\nmetric = {a = "acc"}',
            'names no metric of the objective b; add b = "acc"',
        ),
        ('objective = {mmlu = 1}\ntest = ["mmlu"]', "must not hold the objective's task"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, scoring: str, line: str) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, scoring=scoring)
    first, *lines = str(refused.value).splitlines()
    assert first.endswith(": 1 problem") and len(lines) == 1
    assert lines[0].startswith("  [scoring] ") and line in lines[0]
