"""What is searched in a study, as given or as its trials tell; reads trials, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import groupby
from itertools import takewhile
from types import MappingProxyType
from typing import Any
from typing import final
from typing import TypeAlias

from optuna.distributions import BaseDistribution
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


__all__ = [
    "InferredSpace",
    "SearchSpaces",
    "fixed_outside",
    "has_other_range",
    "is_space_known",
]

_Fixed: TypeAlias = Mapping[str, Any]
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_SETTLED = 5
"""Trials in a row with one range of a parameter, before another is a new range for all of them."""
_TWICE = 2
"""The same where there is no other parameter that its range may follow from."""


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
        fixed = fixed_outside(study, whole.distributions)
        branches = self._branches(study, fixed) if fixed and self.is_branching else None
        if branches is not None:
            return branches
        common = self._inferred(study) if self.given is None else self.given
        kept = {n: d for n, d in common.items() if n in {*search_space, *fixed}}
        return self._plain({n: single(d, fixed[n]) if n in fixed else d for n, d in kept.items()})

    def left(self, study: Study) -> AnySpace:
        """The space of what is left to search where parameters are fixed."""
        whole = self.whole(study).distributions
        fixed = fixed_outside(study, whole)
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
    """The intersection of spaces as Optuna has it, of one study, begun anew for each.

    A trial without a parameter says nothing: it is a baseline, or was pruned before it suggested.
    A parameter whose range somebody has changed between two runs has the newest one. Optuna leaves
    it out, as it does one whose range follows from other parameters.
    """

    def __init__(self) -> None:
        self._of: Identity | None = None
        self._shared: dict[str, BaseDistribution] | None = None
        self._next = 0  # all trials before this number are counted

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(self, study: Study) -> dict[str, BaseDistribution]:
        """The parameters that every ended trial suggests."""
        if self._of != identity(study):
            self._of, self._shared, self._next = identity(study), None, 0
        self._count(trials_of(study))
        shared = self._shared or {}
        newest = _newest_ranges(trials_of(study), shared)
        return searched(dict(sorted((shared | newest).items()))) if newest else dict(shared)

    def _count(self, trials: Sequence[FrozenTrial]) -> None:
        """Takes in the trials that have ended since; those that failed do not count."""
        fresh = takewhile(lambda trial: trial.number >= self._next, reversed(trials))
        since = [trial for trial in fresh if trial.state is not TrialState.FAIL]
        for trial in _telling(since):
            found = trial.distributions
            shared = sorted(found.items()) if self._shared is None else self._shared.items()
            self._shared = {name: d for name, d in shared if found.get(name) == d}
        if since:
            unended = [trial.number for trial in since if not trial.state.is_finished()]
            self._next = min(unended, default=since[0].number + 1)


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
    trials: Sequence[FrozenTrial], shared: Mapping[str, BaseDistribution]
) -> dict[str, BaseDistribution]:
    """The parameters whose range has changed for all later trials, with the newest one."""
    newest = next(_telling(reversed(trials)), None)
    found = {} if newest is None else newest.distributions
    others = {name: d for name, d in found.items() if name not in shared}
    if not others:
        return {}
    # a range follows from a parameter whose own has never changed
    may_follow = any(not d.single() for d in shared.values()) or any(
        not d.single() and all(t.distributions.get(name) == d for t in _telling(trials))
        for name, d in others.items()
    )
    return {
        name: d
        for name, d in others.items()
        if _has_settled(name, _telling(reversed(trials)), may_follow)
    }


def _telling(trials: Iterable[FrozenTrial]) -> Iterator[FrozenTrial]:
    """Those that have ended and tell of parameters."""
    return (trial for trial in trials if trial.state in _ENDED and trial.distributions)


def _has_settled(name: str, ended: Iterable[FrozenTrial], may_follow: bool) -> bool:
    """Whether all trials, the newest first, have a parameter, and its newest range lasts.

    A range that follows from other parameters would have changed sooner, also between two others.
    But the oldest may have been given up soon, and the newest may be too new to tell.

    Args:
        name: The parameter's.
        ended: The trials.
        may_follow: Whether there is a parameter from which the range may follow.
    """
    lasted: list[int] = []
    for distribution, run in groupby(trial.distributions.get(name) for trial in ended):
        if distribution is None or (may_follow and lasted[1:] and lasted[-1] < _SETTLED):
            return False
        lasted.append(sum(1 for _ in run))
    enough = _SETTLED if may_follow else _TWICE
    return len(lasted) == 1 or max(lasted[0], lasted[-1]) >= enough


def has_other_range(trial: FrozenTrial, space: AnySpace) -> bool:
    """Whether a range has changed since a trial, in a space without branches."""
    newest = space.distributions
    changed = (newest.get(name, d) != d for name, d in trial.distributions.items())
    return space.growth is None and any(changed)


def is_space_known(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial has told of parameters, so that the space is known as far as it can be."""
    return any(True for _ in _telling(trials))


def fixed_outside(study: Study, space: Mapping[str, BaseDistribution]) -> _Fixed:
    """The parameters of a space that PartialFixedSampler has fixed, with their values."""
    fixed = {name: value for name, value in fixed_by(study.sampler).items() if name in space}
    return {n: x for n, x in fixed.items() if internal_of(space[n], x) is not None}
