"""Functions -> the stand-in's instruction rows and lm-eval tasks; writes its data and its tasks.

A function's instruction is its qualified name in words, its answer the first sentence of its
docstring. The split is by short name, so that `posixpath.isabs` and `ntpath.isabs`, or a method
and the one that overrides it, never lie on two sides of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import random
from typing import Any

from examples.standin.text import Function
from examples.standin.text import in_words


__all__ = ["TEMPLATE", "Split", "instruction", "questions", "split", "write_data", "write_tasks"]

TEMPLATE = "### Instruction:\n{instruction}\n\n### Response:\n"

CHOICES = 4
NEIGHBOURS = 12  # wrong choices: answers of these many functions next in length, on either side
COMMON = 20  # functions of one short name; from here on they are for training only

_TASK = """\
# Which of {choices} sentences describes this function? All four are taken from the {split} split.
task: standin_{split}
dataset_path: json
dataset_kwargs:
  data_files:
    test: standin_{split}.jsonl  # beside this file
test_split: test
output_type: multiple_choice
doc_to_text: {prompt}  # the training prompt
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@dataclass(frozen=True)
class Split:
    """Functions to learn from, to search on, to test on; no short name and no answer in two."""

    train: tuple[Function, ...]
    validation: tuple[Function, ...]
    test: tuple[Function, ...]

    @property
    def held_out(self) -> tuple[Function, ...]:
        """What neither pre-training nor training may see."""
        return self.validation + self.test


def instruction(function: Function) -> str:
    """What the model is asked, e.g. `xml etree element tree element keys`."""
    return in_words(function.name)


def split(functions: Sequence[Function], *, validation: int, test: int, seed: int) -> Split:
    """Splits by short name.

    Args:
        functions: With answers of their own.
        validation: Functions wanted there, at least; a few more may come of one short name.
        test: Likewise.
        seed: Of the choice, and of the order inside each part.
    """
    groups: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        groups[function.short_name].append(function)
    rng = random.Random(seed)
    parts: dict[str, list[Function]] = {"test": [], "validation": [], "train": []}
    for short_name in rng.sample(sorted(groups), len(groups)):
        group = groups[short_name]
        parts[_part(parts, len(group), validation=validation, test=test)] += group
    return Split(**{name: tuple(rng.sample(part, len(part))) for name, part in parts.items()})


def _part(
    parts: Mapping[str, Sequence[Function]], group_size: int, *, validation: int, test: int
) -> str:
    if group_size >= COMMON:
        return "train"
    if len(parts["test"]) < test:
        return "test"
    return "validation" if len(parts["validation"]) < validation else "train"


def questions(functions: Sequence[Function], *, seed: int) -> list[dict[str, Any]]:
    """One question per function: its own answer among others of about the same length.

    Length is kept equal because a model's log-likelihood of a sentence falls with it.
    """
    rng = random.Random(seed)
    by_length = sorted(functions, key=lambda function: (len(function.answer), function.name))
    return [_question(by_length, i, rng) for i in range(len(by_length))]


def _question(by_length: Sequence[Function], index: int, rng: random.Random) -> dict[str, Any]:
    function = by_length[index]
    near = by_length[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
    wrong = rng.sample([other.answer for other in near if other is not function], CHOICES - 1)
    gold = rng.randrange(CHOICES)
    return {
        "name": function.name,
        "instruction": instruction(function),
        "choices": [*wrong[:gold], function.answer, *wrong[gold:]],
        "gold": gold,
    }


def write_data(parts: Split, folder: Path) -> None:
    """Writes `train.jsonl` and `validation.jsonl` with Alpaca's fields."""
    _write_lines(folder / "train.jsonl", map(_row, parts.train))
    _write_lines(folder / "validation.jsonl", map(_row, parts.validation))


def write_tasks(parts: Split, folder: Path, *, seed: int) -> None:
    """Writes `standin_validation` and `standin_test`, each as a YAML file and its questions."""
    for name, functions in (("validation", parts.validation), ("test", parts.test)):
        prompt = json.dumps(TEMPLATE.replace("{instruction}", "{{instruction}}"))
        text = _TASK.format(choices=CHOICES, split=name, prompt=prompt)
        _write_lines(folder / f"standin_{name}.jsonl", questions(functions, seed=seed))
        (folder / f"standin_{name}.yaml").write_text(text)


def _row(function: Function) -> dict[str, str]:
    return {
        "name": function.name,
        "instruction": instruction(function),
        "input": "",
        "output": function.answer,
    }


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
