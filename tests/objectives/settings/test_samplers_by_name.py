"""The command's samplers in several processes: what they draw is the trial's, and not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commands import experiment
import optuna
import pytest

from objectives.errors import UserError
from objectives.settings.read_plan import read_plan
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import sampler_of
from objectives.tune.samplers import SAMPLERS
import optuna_partition


__all__ = ["experiment"]  # the fixture


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_what_is_drawn_is_the_trial_s_own_in_whichever_process(
    experiment: Path, sampler: str
) -> None:
    """Two workers with one seed, and a study that is continued, do not repeat each other."""

    def drawn(processes: int) -> list[dict[str, Any]]:
        plan = read_plan([str(experiment), "--sampler", sampler], SAMPLERS, PRUNERS)
        samplers = [sampler_of(plan) for _ in range(processes)]
        study = optuna.create_study()
        for number in range(6):
            study.sampler = samplers[number % processes]
            study.tell(study.ask(plan.experiment.search_space()), float(number))
        return [trial.params for trial in study.trials]

    alone, together = drawn(1), drawn(2)
    assert alone == together
    assert len({tuple(params.values()) for params in alone}) == 6


def test_trials_asked_for_together_draw_as_one_by_one(experiment: Path) -> None:
    """As a pack's are: all are asked for, and then they suggest."""
    plan = read_plan([str(experiment), "--sampler", "random"], SAMPLERS, PRUNERS)
    drawn = []
    for size in (1, 4):
        study = optuna.create_study(sampler=sampler_of(plan))
        for _ in range(4 // size):
            asked = [study.ask() for _ in range(size)]
            for trial in asked:
                trial.suggest_float("x", 0, 1)
                trial.suggest_float("y", 0, 1)
                study.tell(trial, 0.0)
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("sampler", ["soo", "direct", "bamsoo", "nomad"])
def test_what_others_draw_is_the_trial_s_own_too(experiment: Path, sampler: str) -> None:
    """A parameter outside the partition, of two workers with one seed."""
    plan = read_plan([str(experiment), "--sampler", sampler], SAMPLERS, PRUNERS)
    study = optuna.create_study()
    for _ in range(2):
        try:
            study.sampler = sampler_of(plan)
        except UserError as missing:
            pytest.skip(str(missing))
        trial = study.ask(plan.experiment.search_space())
        trial.suggest_float("elsewhere", 0, 1)
    first, second = (trial.params["elsewhere"] for trial in study.trials)
    assert first != second


@pytest.mark.parametrize(("pruner", "resumes"), [("bound", True), ("asha", False)])
def test_a_stopped_trial_is_taken_up_where_its_training_is_kept(
    experiment: Path, pruner: str, resumes: bool
) -> None:
    words = [str(experiment), "--sampler", "bamsoo", "--pruner", pruner]
    sampler = sampler_of(read_plan(words, SAMPLERS, PRUNERS))
    assert sampler._rule.resumes is resumes  # type: ignore[attr-defined]


def test_the_pruner_bound_is_the_library_s(experiment: Path) -> None:
    plan = read_plan([str(experiment), "--pruner", "bound"], SAMPLERS, PRUNERS)
    pruner = PRUNERS[plan.settings.pruner](plan.experiment.training.validations)
    assert type(pruner) is optuna_partition.BoundPruner


@pytest.mark.parametrize(
    ("lines", "arguments", "kept"),
    [
        ("", [], "unfinished"),
        ("", ["--pruner", "bound"], "pruned"),
        ('pruner = "bound"', [], "pruned"),
        ('pruner = "bound"', ["--pruner", "asha"], "unfinished"),
        ('checkpoints = "none"', ["--pruner", "bound"], "none"),
        ('checkpoints = "unfinished"', ["--pruner", "bound"], "unfinished"),
    ],
)
def test_with_bound_pruned_trials_can_go_on_unless_the_file_says_otherwise(
    experiment: Path, lines: str, arguments: list[str], kept: str
) -> None:
    experiment.write_text(f"{experiment.read_text()}{lines}\n")
    plan = read_plan([str(experiment), *arguments], SAMPLERS, PRUNERS)
    assert plan.settings.kept_checkpoints == kept
