"""What became of the points of workers that died."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import FrozenTrial

from objectives.settings.config import load_experiment
from optuna_partition._core.cells import centre
from optuna_partition._space.space import Space
from optuna_partition._study.attributes import Ask


def came_again(file: Path, lost: FrozenTrial, done: list[FrozenTrial]) -> bool:
    """Whether what a dead worker was to evaluate was evaluated; it may not have read all of it."""
    ask, space = Ask.of(lost), Space(load_experiment(file).search_space())
    if ask is None:
        return not lost.params
    params = space.params(centre(space.axes, ask.evaluated))
    assert lost.params.items() <= params.items()
    return params in [trial.params for trial in done]
