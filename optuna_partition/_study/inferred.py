"""What is searched in a study, as given or as its trials tell; reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from typing import final
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._space.branching import Branch
from optuna_partition._space.branching import Branches
from optuna_partition._space.conditional import ConditionalSpace
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space
from optuna_partition._space.values import internal_of
from optuna_partition._space.values import single
from optuna_partition._study.arguments import searched
from optuna_partition._study.fold.readings import has_told
from optuna_partition._study.optuna import fixed_by
from optuna_partition._study.optuna import Identity
from optuna_partition._study.optuna import identity
from optuna_partition._study.optuna import trials_of


__all__ = ["InferredSpace", "SearchSpaces", "has_other_range", "is_space_known"]

_Fixed: TypeAlias = Mapping[str, Any]
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_SETTLED = 5
"""Trials in a row with one range of a parameter, before another is a new range for all of them."""


@final
class SearchSpaces:
    """What a partition sampler searches in a study.

    Args:
        given: Name -> distribution, where a user has said; else it is what trials tell.
        branching: Whether that has the parameters that only some trials have.
    """

    def __init__(self, given: dict[str, BaseDistribution] | None, branching: bool) -> None:
        self.given = None if given is None else searched(given)
        self.is_branching = branching
        self._inferred = InferredSpace()
        self._branches = InferredBranches()
        self._last = Space({})

    def whole(self, study: Study) -> AnySpace:
        """The space that is searched unless someone has taken parameters out of it."""
        if self.given is not None:
            return self._plain(self.given)
        branches = self._branches(study) if self.is_branching else None
        return branches or self._plain(self._inferred(study))

    def without(self, study: Study, search_space: Mapping[str, BaseDistribution]) -> AnySpace:
        """The space of what is left to search.

        What PartialFixedSampler has fixed is an axis with one value, so that another value is
        another tree. There are no branches where others have taken parameters out.

        Args:
            study: The study.
            search_space: The parameters that nobody has taken out.
        """
        whole = self.whole(study)
        if whole.distributions == search_space:
            return whole
        fixed = _fixed_outside(study, whole.distributions)
        branches = self._branches(study, fixed) if fixed and self.is_branching else None
        if branches is not None:
            return branches
        common = self._inferred(study) if self.given is None else self.given
        kept = {n: d for n, d in common.items() if n in {*search_space, *fixed}}
        return self._plain({n: single(d, fixed[n]) if n in fixed else d for n, d in kept.items()})

    def left(self, study: Study) -> AnySpace:
        """The space of what is left to search where parameters are fixed."""
        whole = self.whole(study).distributions
        fixed = _fixed_outside(study, whole)
        return self.without(study, {n: d for n, d in whole.items() if n not in fixed})

    def is_partial(self, space: AnySpace) -> bool:
        """Whether someone has taken parameters out of a space that was given."""
        return self.given is not None and space.distributions != self.given

    def _plain(self, distributions: dict[str, BaseDistribution]) -> Space:
        """The space of some parameters, made once as long as they stay the same."""
        if list(self._last.distributions.items()) != list(distributions.items()):
            self._last = Space(distributions)
        return self._last


class InferredSpace:
    """Optuna's intersection of spaces, which is for one study, begun anew for each.

    A parameter whose range somebody has changed between two runs has the newest one. Optuna leaves
    it out, as it does one whose range follows from other parameters.
    """

    def __init__(self) -> None:
        self._of: Identity | None = None
        self._space = IntersectionSearchSpace(include_pruned=True)

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(self, study: Study) -> dict[str, BaseDistribution]:
        """The parameters that every ended trial suggests."""
        if self._of != identity(study):
            self._of = identity(study)
            self._space = IntersectionSearchSpace(include_pruned=True)
        shared = self._space.calculate(study)
        newest = _newest_ranges(trials_of(study), but=shared)
        return searched(dict(sorted((shared | newest).items())) if newest else shared)


class InferredBranches:
    """The conditional space of one study, begun anew for each."""

    def __init__(self) -> None:
        self._of: Identity | None = None
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


def _newest_ranges(
    trials: Sequence[FrozenTrial], but: Container[str]
) -> dict[str, BaseDistribution]:
    """The parameters whose range has changed for all later trials, with the newest one."""
    newest = next(_ended(trials), None)
    found = {} if newest is None else newest.distributions
    others = {name: d for name, d in found.items() if name not in but}
    return {name: d for name, d in others.items() if _has_settled(name, _ended(trials))}


def _ended(trials: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The newest first."""
    return (trial for trial in reversed(trials) if trial.state in _ENDED)


def _has_settled(name: str, ended: Iterable[FrozenTrial]) -> bool:
    """Whether all trials, the newest first, have a parameter, and its ranges last; the newest may.

    A range that follows from other parameters would have changed sooner.
    """
    in_a_row = _SETTLED
    for newer, older in pairwise(ended):
        if name not in older.distributions:
            return False
        if older.distributions[name] == newer.distributions[name]:
            in_a_row += 1
        elif in_a_row < _SETTLED:
            return False
        else:
            in_a_row = 1
    return in_a_row >= _SETTLED


def has_other_range(trial: FrozenTrial, space: AnySpace) -> bool:
    """Whether a range has changed since a trial, in a space without branches."""
    newest = space.distributions
    changed = (newest.get(name, d) != d for name, d in trial.distributions.items())
    return space.growth is None and any(changed)


def is_space_known(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial has ended, so that the space is known as far as it ever will be."""
    return any(trial.state in _ENDED for trial in trials)


def _fixed_outside(study: Study, space: Mapping[str, BaseDistribution]) -> _Fixed:
    """The parameters of a space that PartialFixedSampler has fixed, with their values."""
    fixed = {name: value for name, value in fixed_by(study.sampler).items() if name in space}
    return {n: x for n, x in fixed.items() if internal_of(space[n], x) is not None}
