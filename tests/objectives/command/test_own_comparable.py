"""Which changes of `[command]` leave a study's values comparable."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from trainers import own
from trainers import run_words
from trainers import SEARCH

from objectives.errors import UserError
from objectives.settings.comparable import check_comparable
from objectives.settings.comparable import keep_experiment
from objectives.settings.read_plan import read_plan
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


SAME = {
    "a time limit": {"study": 'sampler = "soo"\ntrials = 5\ntime_limit = 60'},
    "what is kept": {"keep": '"all"'},
    "a baseline": {"baseline": "{{learning_rate = 1e-3, rank = 8}}"},
    "the ends of a range": {"search": SEARCH.replace("1e-4", "1e-5")},
    "the same words in a list": {
        "run": str([word.strip('"') for word in run_words().split()]).replace("'", '"')
    },
}
CHANGED = {"the ends of a range": ["[search] learning_rate"]}
OTHER = {
    "another word": ({"run": run_words("--steps 5")}, "[command] run: was "),
    "another value": ({"value": '{{pattern = "loss=(.*)"}}'}, "[command] value: was "),
    "another scale": (
        {"search": SEARCH.replace(", log = true", "")},
        "[search] learning_rate: was 0.0001 to 0.1 on a log scale, is 0.0001 to 0.1\n",
    ),
    "another direction": ({"direction": '"maximize"'}, "this experiment is to maximize"),
}


def keep(study: optuna.Study, file: Path) -> None:
    keep_experiment(study, read_plan([str(file)], SAMPLERS, PRUNERS).experiment, "")


def check(study: optuna.Study, file: Path) -> list[str]:
    return check_comparable(study, read_plan([str(file)], SAMPLERS, PRUNERS).experiment, "here")


@pytest.mark.parametrize("change", SAME)
def test_these_changes_leave_values_comparable(change: str, tmp_path: Path) -> None:
    study = optuna.create_study()
    keep(study, own(tmp_path))
    notes = check(study, own(tmp_path, **SAME[change]))
    assert [note.partition(":")[0] for note in notes] == CHANGED.get(change, [])


@pytest.mark.parametrize("change", OTHER)
def test_these_changes_need_another_study(change: str, tmp_path: Path) -> None:
    command, told = OTHER[change]
    study = optuna.create_study()
    keep(study, own(tmp_path))
    with pytest.raises(UserError) as error:
        check(study, own(tmp_path, **command))
    assert told in f"{error.value}\n"


def test_a_config_counts_by_what_it_says(tmp_path: Path) -> None:
    """Not by where it is, nor by the values that are searched."""
    base = '{"optimizer": {"lr": 0.001, "name": "adamw"}}'
    study = optuna.create_study()
    keep(study, with_config(tmp_path, "base.json", base))
    assert check(study, with_config(tmp_path, "moved.json", base.replace("0.001", "0.5"))) == []
    with pytest.raises(UserError, match="config optimizer.name: was adamw, is sgd"):
        check(study, with_config(tmp_path, "moved.json", base.replace("adamw", "sgd")))


def with_config(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    words = '"{python} train.py --rank {{rank}} --config {{config}} --out {{output}}"'
    search = SEARCH.replace("learning_rate", '"optimizer.lr"')
    return own(folder, run=words, config=f'"{name}"', search=search)
