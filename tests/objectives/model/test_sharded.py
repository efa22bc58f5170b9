"""A base in shares: half of it per rank, and to the bit what ranks with whole bases find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import sys

from commands import bad
from commands import experiment as experiment_file
from commands import one_thread
import pytest
from transformers import LlamaForCausalLM

from objectives.errors import UserError
from objectives.gang.supervisor import Gang
from objectives.job import Exam
from objectives.job import Examined
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Pruned
from objectives.model.sharded import _layers
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import TrainingSettings


__all__ = ["experiment_file", "one_thread"]  # fixtures

SHARING = Path(__file__).parents[1] / "ranks" / "sharing_rank.py"
CHOSEN = Hyperparameters(5e-3, 0.1, 4, 8, 0.2, 12)  # 12 samples, 5 at a time: a rank has one less
OTHER_WAYS = replace(CHOSEN, loraplus_lr_ratio=8.0, optimizer="adafactor", schedule="linear")
FITTING = {"gradient_checkpointing": True, "padding_free": True}


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment, task_folder: Path) -> Experiment:
    return tiny_experiment.model_copy(
        update={
            "training": TrainingSettings(validations=2, micro_batch=5, **FITTING),
            "scoring": ScoringSettings(
                objective="colours", tasks=str(task_folder), limit=21
            ).model_copy(update={"test": ["colours"]}),
        }
    )


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ranks write down what they hold."""
    return tmp_path_factory.mktemp("shares")


@pytest.fixture(scope="module")
def sharing(experiment: Experiment, shares: Path) -> Iterator[Gang]:
    model = experiment.model.model_copy(update={"sharded": True})
    shared = experiment.model_copy(update={"model": model})
    command = [sys.executable, str(SHARING), str(shares)]
    with Gang(shared, ranks=2, test=True, command=command) as gang:
        yield gang


@pytest.fixture(scope="module")
def whole(experiment: Experiment) -> Iterator[Gang]:
    with Gang(experiment, ranks=2, test=True) as gang:
        yield gang


def job(folder: Path, chosen: Hyperparameters = CHOSEN, **more: object) -> Job:
    return Job(0, chosen, str(folder / "adapter"), 5, 32, **more)


def finished(gang: Gang, work: Job) -> Finished:
    outcome = gang(work, lambda _: False)
    assert isinstance(outcome, Finished), outcome
    return outcome


def test_a_trial_and_its_exam_are_those_of_whole_bases(
    sharing: Gang, whole: Gang, shares: Path, tmp_path: Path
) -> None:
    first = finished(sharing, job(tmp_path / "sharing", OTHER_WAYS))
    plain = finished(whole, job(tmp_path / "whole", OTHER_WAYS))
    assert first.training.validation_loss == plain.training.validation_loss
    assert (first.value, first.stderr) == (plain.value, plain.stderr)
    exams = [
        gang.examine(Exam(str(tmp_path / "whole" / "adapter"), 5, 32)) for gang in (sharing, whole)
    ]
    assert isinstance(exams[0], Examined) and exams[0] == exams[1]
    again = finished(sharing, job(tmp_path / "again", OTHER_WAYS))
    assert again.training.validation_loss == first.training.validation_loss, "the base as it was"
    held = [json.loads((shares / f"{rank}.json").read_text()) for rank in range(2)]
    assert sum(each["here"] for each in held) == held[0]["whole"]
    assert max(each["here"] for each in held) < 0.51 * held[0]["whole"]


def test_a_training_that_was_cut_off_goes_on(sharing: Gang, tmp_path: Path) -> None:
    work = job(tmp_path, checkpoint_stem=str(tmp_path / "checkpoint"))
    assert isinstance(sharing(work, lambda validation: validation.part == 1), Pruned)
    resumed = finished(sharing, work)
    clean = finished(sharing, job(tmp_path / "clean"))
    assert resumed.training.resumed_at > 0
    assert resumed.training.validation_loss == clean.training.validation_loss


def test_a_model_that_does_not_tell_its_layers(tiny_model_folder: Path) -> None:
    base = LlamaForCausalLM.from_pretrained(tiny_model_folder)
    assert len(_layers(base)) == base.config.num_hidden_layers
    base._no_split_modules = None
    with pytest.raises(UserError, match="LlamaForCausalLM does not tell.*sharded = false"):
        _layers(base)


@pytest.mark.parametrize(
    ("section", "options", "expected"),
    [
        ("", [], "give --gpus-per-trial 2 or more"),
        ("", ["--gpus-per-trial", "1"], "give --gpus-per-trial 2 or more"),
        ('quantization = "4bit"\n', ["--gpus-per-trial", "2"], "need whole weights"),
    ],
)
def test_bad_input_is_one_message(
    experiment_file: Path, section: str, options: list[str], expected: str
) -> None:
    text = experiment_file.read_text()
    experiment_file.write_text(text.replace("[data]", f"sharded = true\n{section}[data]", 1))
    assert expected in bad(experiment_file, *options)
