"""The examples of other people's trainers: their files, written for a trial and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commands import ROOT
import pytest
import yaml

from objectives.command.objective import written
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.read_plan import read_plan
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


EXAMPLES = sorted((ROOT / "examples" / "own").glob("*/*.toml"))
WORDS = {
    "trl": ["trl", "sft", "--config", "{config}", "--learning_rate", "0.001"],
    "axolotl": ["axolotl", "train", "{config}"],
    "llamafactory": ["llamafactory-cli", "train", "{config}"],
}
EVALUATES = ("eval_steps", "evals_per_epoch")
SAVES = ("save_steps", "saves_per_epoch")


def experiment(file: Path) -> OwnExperiment:
    found = read_plan([str(file)], SAMPLERS, PRUNERS).experiment
    assert isinstance(found, OwnExperiment)
    return found


def base(found: OwnExperiment) -> dict[str, Any]:
    assert found.command.config is not None
    return found.command.config.content


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_written_and_read_back(file: Path, tmp_path: Path) -> None:
    found = experiment(file)
    params: Any = found.baseline()
    assert params is not None and params.keys() == found.search_space().keys()
    words = written(found, params, tmp_path / "0000")
    (copy,) = (tmp_path / "0000").glob("base.y*ml")
    assert words == [word.format(config=copy) for word in WORDS[file.stem]]
    own = {"output_dir": str(tmp_path / "0000" / "output")}
    assert yaml.safe_load(copy.read_text()) == base(found) | own, "the baseline is the file itself"
    changed = {"lora_alpha": 12}
    written(found, params | changed, tmp_path / "0001")
    again = yaml.safe_load((tmp_path / "0001" / copy.name).read_text())
    assert again["lora_alpha"] == 12 and again.keys() == base(found).keys()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_it_saves_its_state_whenever_it_evaluates(file: Path) -> None:
    said = base(experiment(file))
    assert [said[key] for key in EVALUATES if key in said] == [
        said[key] for key in SAVES if key in said
    ]


def test_they_are_three() -> None:
    assert {file.stem for file in EXAMPLES} == WORDS.keys()
