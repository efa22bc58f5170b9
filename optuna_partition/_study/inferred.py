"""The search space that a study's trials have in common; reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._space.branching import Branch
from optuna_partition._space.branching import Branches
from optuna_partition._space.conditional import ConditionalSpace
from optuna_partition._study.optuna import searched
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.record import has_told


__all__ = ["identity", "InferredBranches", "InferredSpace", "is_begun"]

_Fixed: TypeAlias = Mapping[str, Any]
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


class InferredBranches:
    """The conditional space of one study, begun anew for each."""

    def __init__(self) -> None:
        self._of: tuple[int, int] | None = None
        self._branches = Branches(has_told)
        self._found: tuple[Branch, _Fixed, ConditionalSpace] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(
        self, study: Study, fixed: _Fixed = MappingProxyType({})
    ) -> ConditionalSpace | None:
        """The space of all branches; None as long as no parameter is known to decide on others.

        Args:
            study: Whose trials are read.
            fixed: Parameters that have one value each.
        """
        if self._of != identity(study):
            self.__init__()  # type: ignore[misc]
            self._of = identity(study)
        root = self._branches.root(trials_of(study))
        if root is None or root.decider is None:
            return None
        if self._found is None or self._found[0] is not root or self._found[1] != fixed:
            space = ConditionalSpace(root.fixed(fixed) if fixed else root)
            searched(dict(space.distributions))
            self._found = root, fixed, space
        return self._found[2]


def is_begun(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial has ended, so that the space is known as far as it ever will be."""
    return any(trial.state in _ENDED for trial in trials)
