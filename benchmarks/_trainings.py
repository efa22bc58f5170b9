"""Trainings to their end, alone and in a pack, for what measures them."""

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


__all__ = ["alone", "together"]


def alone(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> Learner:
    """One; the base is free again."""
    learner = Learner(bench, settings, chosen)
    deque(train(learner), maxlen=0)
    release(bench, bench.base)
    return learner


def together(
    bench: Bench, settings: TrainingSettings, pack: Sequence[Hyperparameters]
) -> list[Learner]:
    """All of a pack; the base is free again."""
    learners = [Learner(bench, settings, chosen) for chosen in pack]
    deque(train_pack(learners), maxlen=0)
    release(bench, bench.base)
    return learners
