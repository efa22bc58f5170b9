"""Trainings that nobody ends early, alone and in a pack."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.pack.packed import train_pack
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.learner import Learner
from objectives.training.loop import train


def trained(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> Learner:
    """Its adapter stays on the base."""
    learner = Learner(bench, settings, chosen)
    deque(train(learner), maxlen=0)
    return learner


def losses(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> list[float]:
    """Of the training, and of the validation at its end; the base is free again."""
    learner = trained(bench, settings, chosen)
    release(bench, bench.base)
    return of(learner)


def of(learner: Learner) -> list[float]:
    """Its losses of the training, and that of the validation at its end."""
    return [*learner.losses, learner.validations[-1].loss]


def trained_pack(
    bench: Bench, settings: TrainingSettings, several: Sequence[Hyperparameters]
) -> list[Learner]:
    """The base is free again."""
    learners = [Learner(bench, settings, chosen) for chosen in several]
    try:
        deque(train_pack(learners), maxlen=0)
    finally:
        release(bench, bench.base)
    return learners
