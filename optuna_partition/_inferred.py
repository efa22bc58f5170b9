"""The search space that a study's trials have in common; reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._study import searched


__all__ = ["identity", "InferredSpace", "is_begun"]

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def identity(study: Study) -> tuple[int, int]:
    """What tells a study from others in this process: ids begin anew in every storage."""
    return id(study._storage), study._study_id


class InferredSpace:
    """Optuna's intersection of spaces, which is for one study, begun anew for each."""

    def __init__(self) -> None:
        self._of: tuple[int, int] | None = None
        self._space = IntersectionSearchSpace(include_pruned=True)

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(self, study: Study) -> dict[str, BaseDistribution]:
        """The parameters that every ended trial suggests with the same distribution."""
        if self._of != identity(study):
            self._of = identity(study)
            self._space = IntersectionSearchSpace(include_pruned=True)
        return searched(self._space.calculate(study))


def is_begun(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial has ended, so that the space is known as far as it ever will be."""
    return any(trial.state in _ENDED for trial in trials)
