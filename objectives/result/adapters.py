"""Which trials' adapters are the best, and deletes those that are not; imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
import shutil

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


__all__ = ["best_trials", "keep_best_adapters"]

SPARE = 3  # adapters kept for each that is to be scored: the best value may be luck
WEIGHTS = "adapter_model.safetensors"  # peft's


def best_trials(study: optuna.Study, count: int, order: Sequence[int] = ()) -> list[FrozenTrial]:
    """The best finished trials whose adapter is still there, best first.

    Args:
        study: Its values count.
        count: How many at most.
        order: Numbers of trials that come before all others, the best first.
    """
    return _best(study, _complete(study), count, order)


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _best(
    study: optuna.Study, complete: Sequence[FrozenTrial], count: int, order: Sequence[int] = ()
) -> list[FrozenTrial]:
    place = {number: i for i, number in enumerate(order)}
    sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
    ranked = sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))
    ranked.sort(key=lambda t: place.get(t.number, len(place)))
    there = (t for t in ranked if (Path(t.user_attrs.get("adapter", "-")) / WEIGHTS).is_file())
    return list(islice(there, count))


def keep_best_adapters(count: int) -> Callable[[optuna.Study, FrozenTrial], None]:
    """A callback of `study.optimize` that deletes the adapters which cannot be needed any more."""

    def prune(study: optuna.Study, trial: FrozenTrial) -> None:
        complete = _complete(study)  # one look: what another worker completes now is the next's
        kept = {t.number for t in _best(study, complete, SPARE * count)}
        for other in complete:
            if other.number not in kept and "adapter" in other.user_attrs:
                shutil.rmtree(other.user_attrs["adapter"], ignore_errors=True)

    return prune
