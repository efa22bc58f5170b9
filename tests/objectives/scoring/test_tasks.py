"""Loading lm-eval tasks: from a user's folder, from lm-eval's own, and what it refuses."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

from few_tasks import few_of_lm_eval
import lm_eval.tasks
from lm_eval.tasks._yaml_loader import load_yaml
import pytest

from objectives.errors import UserError
from objectives.scoring.metrics import metrics
from objectives.scoring.metrics import usual_metric
from objectives.scoring.tasks import load_tasks
from objectives.settings.sections.scoring import ScoringSettings


__all__ = ["few_of_lm_eval"]  # fixtures


def test_metrics_are_those_of_the_task(task_folder: Path) -> None:
    names = ["beliefs", "colours", "all_colours"]
    loaded = load_tasks(ScoringSettings(tasks=str(task_folder)), names)
    assert {name: metrics(name, task) for name, task in loaded.items()} == {
        "beliefs": ["brier_score"],
        "colours": ["acc", "acc_norm"],
        "all_colours": ["acc"],
    }


class Listed:
    """A task of lm-eval's by its file, without its data."""

    def __init__(self, file: str) -> None:
        path = Path(lm_eval.tasks.__file__).parent / file
        self._metrics = load_yaml(path, resolve_func=False)["metric_list"]

    _filters: tuple[object, ...] = ()

    def aggregation(self) -> dict[str, str]:
        return {metric["metric"]: metric["aggregation"] for metric in self._metrics}


@pytest.mark.parametrize(
    ("file", "usual", "with_acc_norm"),
    [
        ("drop/default.yaml", "f1", "f1"),
        ("coqa/default.yaml", "f1", "f1"),
        ("gsm8k/gsm8k.yaml", "exact_match", "exact_match"),
        ("hellaswag/hellaswag.yaml", "acc", "acc_norm"),
        ("lambada/lambada_openai.yaml", "acc", "perplexity"),
        ("crows_pairs/crows_pairs_english.yaml", "pct_stereotype", "pct_stereotype"),
    ],
)
def test_a_task_is_scored_by_its_usual_metric(file: str, usual: str, with_acc_norm: str) -> None:
    """As its authors rank, unless it has the one that the experiment names."""
    loaded = {"tasks": {"it": Listed(file)}}
    assert usual_metric("it", loaded, "acc") == usual
    assert usual_metric("it", loaded, "acc_norm") == with_acc_norm


def test_data_files_lie_beside_the_task(
    task_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command runs, and however the folder is written."""
    shutil.copytree(task_folder, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    (task,) = load_tasks(ScoringSettings(tasks="mine"), ["colours"])["colours"]["tasks"].values()
    files = {split: tmp_path / "mine" / "questions.jsonl" for split in ("test", "train")}
    assert {k: Path(v) for k, v in task.config.dataset_kwargs["data_files"].items()} == files


@pytest.mark.usefixtures("few_of_lm_eval")
@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({"objective": "hellaswagg"}, "hellaswagg", r"objective` = 'hellaswagg'.*'hellaswag'"),
        ({"objective": "colours", "metric": "f1"}, "colours", "not give it.* acc, acc_norm"),
        (
            {"test": ["some_colours"]},
            "some_colours",
            r"test` = 'some_colours'.*name one of them: colours",
        ),
        ({}, "some_colours", r"`on` = 'some_colours'.*name one of them: colours"),
    ],
)
def test_mistakes_are_named(
    task_folder: Path, settings: dict[str, Any], task: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_tasks(ScoringSettings(tasks=str(task_folder), **settings), [task])


def test_missing_data_is_named(task_folder: Path, tmp_path: Path) -> None:
    shutil.copy(task_folder / "colours.yaml", tmp_path)
    with pytest.raises(UserError, match=r"test` = 'colours': the task's data cannot be loaded"):
        load_tasks(ScoringSettings(tasks=str(tmp_path), test=["colours"]), ["colours"])


def test_code_that_the_model_wrote_runs_with_consent_only(
    task_folder: Path, tmp_path: Path
) -> None:
    """lm-eval would refuse as well, but only after a training."""
    shutil.copytree(task_folder, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "colours.yaml").open("a") as file:
        file.write("unsafe_code: true\n")
    settings = ScoringSettings(tasks=str(tmp_path), objective="colours")
    with pytest.raises(UserError, match=r"'colours': the task runs code .* unsafe_code = true"):
        load_tasks(settings, ["colours"])
    consent = settings.model_copy(update={"unsafe_code": True})
    assert load_tasks(consent, ["colours"])


@pytest.mark.usefixtures("offline")
def test_hugging_faces_own_consent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """HumanEval tries the metric `code_eval`, from the hub, as soon as it is loaded."""

    def refuse(name: str) -> None:
        raise ValueError(f"\n####\n{name}: set os.environ['HF_ALLOW_CODE_EVAL'] = '1'")

    monkeypatch.setattr("evaluate.load", refuse)
    folder = Path(lm_eval.tasks.__file__).parent / "humaneval"
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(folder / "manager.py"))
    with pytest.raises(UserError, match="set the environment variable HF_ALLOW_CODE_EVAL=1"):
        load_tasks(ScoringSettings(unsafe_code=True), ["humaneval"])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("folder", "task"),
    [
        ("humaneval", "humaneval_instruct"),
        ("humaneval_infilling", "humaneval_infilling"),  # a group
        ("mbpp", "mbpp"),
    ],
)
def test_consent_is_asked_for_before_the_hub_is(
    monkeypatch: pytest.MonkeyPatch, folder: str, task: str
) -> None:
    """Their metric comes from the hub, and was what was missing."""
    tasks = Path(lm_eval.tasks.__file__).parent / folder
    monkeypatch.setattr("lm_eval.tasks.manager.__file__", str(tasks / "manager.py"))
    with pytest.raises(UserError, match=rf"'{task}': .* write `\[scoring\] unsafe_code = true`"):
        load_tasks(ScoringSettings(), [task])
    told = r"the task's metric code_eval is not in the hub's cache, and HF_HUB_OFFLINE is set"
    with pytest.raises(UserError, match=told):
        load_tasks(ScoringSettings(unsafe_code=True), [task])
