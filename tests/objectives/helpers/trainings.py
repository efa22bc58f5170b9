"""Trainings on a tiny base, as trials of a study, and with little memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import itertools

from experiment_files import wide_search
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
import pytest
import torch

from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.settings.sections.training import TrainingSettings


PARAMS = {"learning_rate": 5e-3, "weight_decay": 0.0, "rank": 4, "alpha": 8, "dropout": 0.2}


OTHERS = {"learning_rate": 1e-3, "weight_decay": 0.1, "rank": 2, "alpha": 16, "dropout": 0.0}


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    training = TrainingSettings(validations=2, micro_batch=6)
    search = wide_search()
    return tiny_experiment.model_copy(update={"training": training, "search": search})


def run(
    objective: LoraObjective,
    *params: dict[str, float],
    pruner: BasePruner | None = None,
) -> list[FrozenTrial]:
    study = optuna.create_study(pruner=pruner or optuna.pruners.NopPruner())
    for each in params:
        study.enqueue_trial(each)
    study.optimize(objective, n_trials=len(params))
    return study.trials


class PruneFirst(BasePruner):
    """Ends the first trial at its first report."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 0


@contextmanager
def memory_for(bench: Bench, rows: int, after: int = 0) -> Iterator[None]:
    """No forward with more rows than that, from a forward on."""
    calls = itertools.count()

    def forward_pre_hook(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
        if len(arguments[0]) > rows and next(calls) >= after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.get_input_embeddings().register_forward_pre_hook(forward_pre_hook):
        yield
