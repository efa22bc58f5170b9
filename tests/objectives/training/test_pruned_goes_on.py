"""A trial that was pruned goes on from its checkpoint, in the way that it began."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiment_files import studied
from gangs import experiment as gang_experiment
from gangs import PARAMS
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from objectives.job import Finished
from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.training.checkpoint_files import checkpoint_file
from objectives.training.runner import Runner


__all__ = ["gang_experiment"]  # a fixture


class First(BasePruner):
    """Ends the first trial at its first report."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 0


@pytest.mark.parametrize(
    ("settings", "goes_on"),
    [
        ({"checkpoints": "none"}, False),
        ({"checkpoints": "unfinished"}, False),
        ({"checkpoints": "pruned"}, True),
        ({"checkpoints": None, "pruner": "asha"}, False),
        ({"checkpoints": None, "pruner": "bound"}, True),
    ],
)
def test_a_pruned_trial_goes_on_where_that_is_wanted(
    gang_experiment: Experiment,
    bench: Bench,
    tmp_path: Path,
    settings: dict[str, Any],
    goes_on: bool,
) -> None:
    """Enqueued again, it is asked about its old losses first; with a value no file is left."""
    experiment = studied(gang_experiment, **settings)
    objective = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
    study = optuna.create_study(pruner=First())
    for _ in range(3):
        study.enqueue_trial(PARAMS)
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state is TrialState.PRUNED
    assert len(list(tmp_path.rglob("*.checkpoint"))) == goes_on
    study.optimize(objective, n_trials=2)
    assert not list(tmp_path.rglob("*.checkpoint"))
    _, again, clean = study.trials
    assert again.user_attrs.get("resumed_at") == (2 if goes_on else None)
    assert "resumed_at" not in clean.user_attrs
    assert again.intermediate_values == clean.intermediate_values and again.value == clean.value


def test_it_goes_on_with_the_micro_batch_it_had(
    gang_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """Whoever it was whose memory did not hold more; the next trial begins as the file says."""
    study = optuna.create_study(pruner=First())
    for size in (2, 4):
        training = gang_experiment.training.model_copy(update={"micro_batch": size})
        changed = gang_experiment.model_copy(update={"training": training})
        worker = studied(changed, checkpoints="pruned")
        study.enqueue_trial(PARAMS)
        objective = LoraObjective(worker, Runner(worker, bench, None), tmp_path)
        study.optimize(objective, n_trials=1)
    study.enqueue_trial(PARAMS)
    study.optimize(objective, n_trials=1)
    _, again, following = study.trials
    assert again.user_attrs["resumed_at"] == again.user_attrs["micro_batch"] == 2
    assert following.user_attrs["micro_batch"] == 4


def test_what_is_trained_keeps_the_micro_batch_it_was_trained_with(
    gang_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """As in a pack; another file of the same point is an earlier training's."""
    training = gang_experiment.training.model_copy(update={"micro_batch": 2})
    changed = gang_experiment.model_copy(update={"training": training})
    experiment = studied(changed, checkpoints="unfinished")
    runner = Runner(experiment, bench, None)
    objective = LoraObjective(experiment, runner, tmp_path)
    study = optuna.create_study()
    study.enqueue_trial(PARAMS)
    begun = objective.begin(study.ask())
    outcome = runner(begun.job, begun.reports)
    assert isinstance(outcome, Finished) and begun.job.checkpoint_stem is not None
    checkpoint_file(begun.job.checkpoint_stem, 1).touch()
    objective.run(replace(begun, job=replace(begun.job, trained=outcome.training)))
    assert study.trials[0].user_attrs["micro_batch"] == 2
