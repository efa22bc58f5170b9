"""What lm-eval's task files say of code and data, through groups, tags and lists."""

from __future__ import annotations

from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks import TaskManager
import pytest

from objectives.scoring.task_files import may_ask_hub
from objectives.scoring.task_files import runs_code


LM_EVAL = Path(lm_eval.tasks.__file__).parent


@pytest.mark.parametrize(
    ("folder", "name", "code"),
    [
        ("humaneval", "humaneval", True),
        ("humaneval", "humaneval_64_instruct", True),  # by what it includes
        ("humaneval_infilling", "humaneval_infilling", True),  # a group
        ("hellaswag", "hellaswag", False),
        ("mmlu/default", "mmlu", False),  # groups of tags
        ("glue", "glue", False),  # a tag
    ],
)
def test_tasks_of_lm_eval(folder: str, name: str, code: bool) -> None:
    index = TaskManager(include_path=str(LM_EVAL / folder), include_defaults=False).task_index
    assert runs_code(index, name) is code
    assert may_ask_hub(index, name)


LOCAL = "dataset_path: json\ndataset_kwargs: {data_files: {test: q.jsonl}}\n"
FILES = {
    "here": f"task: here\ntag: some\n{LOCAL}",
    "saved": "task: saved\ndataset_path: .\n",
    "server": LOCAL.replace("q.jsonl", "https://host/q.jsonl") + "task: server\n",
    "file_of_hub": LOCAL.replace("q.jsonl", "hf://datasets/o/d/q.jsonl") + "task: file_of_hub\n",
    "hub": "task: hub\ndataset_path: org/data\n",
    "code": f"task: code\nunsafe_code: true\n{LOCAL}",
    "made": "task: made\nclass: made.up\n",
    "all_here": "group: all_here\ntask: [here, {task: here, num_fewshot: 2}, saved]\n",
    "inline": "group: inline\ntask: [here, {task: there, dataset_path: org/data}]\n",
    "coding": "group: coding\ntask: [{group: within, task: [{task: code}]}]\n",
}


@pytest.mark.parametrize(
    ("name", "hub", "code"),
    [
        ("here", False, False),
        ("some", False, False),
        ("saved", False, False),
        ("server", False, False),
        ("file_of_hub", True, False),
        ("hub", True, False),
        ("code", False, True),
        ("made", True, False),
        ("all_here", False, False),
        ("inline", True, False),
        ("coding", False, True),
    ],
)
def test_tasks_of_a_user(tmp_path: Path, name: str, hub: bool, code: bool) -> None:
    for stem, text in FILES.items():
        (tmp_path / f"{stem}.yaml").write_text(text)
    index = TaskManager(include_path=str(tmp_path), include_defaults=False).task_index
    assert (may_ask_hub(index, name), runs_code(index, name)) == (hub, code)
