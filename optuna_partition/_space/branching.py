"""What a study's trials say of its branches: which parameter decides on which others; no tree.

A branch is a set of parameters that some trials suggest, all and only these. A decider is a
parameter of finitely many values that all trials suggest, where some other parameter is suggested
by all trials of a value or by none. Of several the one that decides on most comes first, then the
one of fewest values. What it does not decide on may follow from another one behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Coordinate
from optuna_partition._space.space import Space
from optuna_partition._space.values import single


__all__ = ["Branch", "Branches"]

_MOST_RANGES = 10
"""A parameter of more ranges has them from other values, and tells no branches apart."""

_Kind: TypeAlias = frozenset[tuple[str, int]]
"""What a trial suggests: names, each with the place of its distribution among those seen."""


@dataclass(frozen=True)
class Branch:
    """Trials that agree in the deciders so far.

    Args:
        space: What all of them suggest, by name.
        decider: The parameter that decides on more, if any does.
        branches: Those of its values that trials had, as coordinates -> what follows from them.
        kinds: Where nothing more is decided, what trials suggest: one kind of them, unless what
            they suggest follows from no such parameter.
    """

    space: Space
    decider: str | None = None
    branches: Mapping[Coordinate, Branch] = field(default_factory=dict)
    kinds: Collection[_Kind] = ()

    def __iter__(self) -> Iterator[Branch]:
        """This one and those behind it."""
        yield self
        for branch in self.branches.values():
            yield from branch

    def fixed(self, values: Mapping[str, Any]) -> Branch:
        """What is left where some parameters have one value each."""
        found = self.space.distributions.items()
        space = Space({n: single(d, values[n]) if n in values else d for n, d in found})
        if self.decider is None:
            return Branch(space, kinds=self.kinds)
        behind = {x: branch.fixed(values) for x, branch in self.branches.items()}
        if self.decider not in values:
            return Branch(space, self.decider, behind)
        x = _coordinate(self.space, self.decider, values)
        return Branch(space) if x is None else behind.get(x, Branch(space))


class Branches:
    """What the ended trials of one study say, read as they end.

    Args:
        tells: Whether an ended trial says what its branch has.
    """

    def __init__(self, tells: Callable[[FrozenTrial], bool]) -> None:
        self._tells = tells
        self._read = 0
        self._pending: list[int] = []
        self._ended: dict[int, FrozenTrial] = {}
        self._ranges: dict[str, list[BaseDistribution]] = {}
        self._kinds: dict[int, _Kind] = {}
        self._root: Branch | None = None

    def root(self, trials: Sequence[FrozenTrial]) -> Branch | None:
        """The branch of all trials that have parameters; None before one of these has ended.

        Args:
            trials: Of the whole study.
        """
        waiting = [*self._pending, *range(self._read, len(trials))]
        ended = [trials[n] for n in waiting if trials[n].state.is_finished()]
        telling = [trial for trial in ended if trial.distributions and self._tells(trial)]
        for trial in telling:
            self._learn(trial)
        if not all(map(self._is_known, telling)):
            self._root = self._grown(self._members(), frozenset())
        # they count as read when all are: one that Ctrl-C keeps from it comes again
        self._pending = [n for n in waiting if not trials[n].state.is_finished()]
        self._read = len(trials)
        return self._root

    def _is_known(self, trial: FrozenTrial) -> bool:
        """Whether a trial says nothing new: its branch has such trials."""
        branch = self._root
        while branch is not None and branch.decider is not None:
            value = _coordinate(branch.space, branch.decider, trial.params)
            branch = None if value is None else branch.branches.get(value)
        return branch is not None and self._kind(trial.number) in branch.kinds

    def _learn(self, trial: FrozenTrial) -> None:
        kind = set()
        for name, distribution in trial.distributions.items():
            if distribution.single():
                continue
            ranges = self._ranges.setdefault(name, [])
            if distribution not in ranges:
                ranges.append(distribution)
            kind.add((name, ranges.index(distribution)))
        self._ended[trial.number] = trial
        self._kinds[trial.number] = frozenset(kind)

    def _members(self) -> list[int]:
        """The trials that tell all: others may have ended before they came to more parameters.

        Unless every trial of a value, two at least, has ended so: then more is not to come.
        """
        whole = {k for n, k in self._kinds.items() if self._ended[n].state is TrialState.COMPLETE}
        kinds = set(self._kinds.values())
        cut_off = {k for k in kinds - whole if any(k < other for other in kinds)}
        if cut_off:
            cut_off -= set(self._never_more(cut_off))
        return [number for number, kind in self._kinds.items() if kind not in cut_off]

    def _never_more(self, cut_off: Collection[_Kind]) -> Iterator[_Kind]:
        """Those of some kinds that all trials have which share a value with such a trial."""
        of_value: dict[tuple[str, int, Coordinate], list[_Kind]] = {}
        for number, kind in self._kinds.items():
            for name, place in kind:
                space = Space({name: self._ranges[name][place]})
                params = self._ended[number].params
                x = _coordinate(space, name, params) if space.is_finite else None
                if x is not None:
                    of_value.setdefault((name, place, x), []).append(kind)
        for found in of_value.values():
            if len(found) > 1 and len(set(found)) == 1 and found[0] in cut_off:
                yield found[0]

    def _kind(self, number: int) -> _Kind:
        kind = self._kinds[number]
        return frozenset((n, i) for n, i in kind if len(self._ranges[n]) <= _MOST_RANGES)

    def _grown(self, members: Sequence[int], decided: frozenset[str]) -> Branch:
        kinds = {number: self._kind(number) for number in members}
        common = sorted(frozenset.intersection(*kinds.values()))
        space = Space({name: self._ranges[name][i] for name, i in common})
        found = self._decider(space, kinds, decided) if len({*kinds.values()}) > 1 else None
        if found is None:
            return Branch(space, kinds=frozenset(kinds.values()))
        decider, groups = found
        behind = {
            value: self._grown(group, decided | {decider})
            for value, group in sorted(groups.items())
        }
        return Branch(space, decider, behind)

    def _decider(
        self, space: Space, kinds: Mapping[int, _Kind], decided: frozenset[str]
    ) -> tuple[str, dict[Coordinate, list[int]]] | None:
        """The parameter that decides on most, and the trials of each of its values, if one does.

        Args:
            space: What all trials suggest.
            kinds: The trials, and what each suggests.
            decided: The deciders that led to them.
        """
        found = []
        for name, axis in zip(space.distributions, space.axes, strict=True):
            if name not in decided and not isinstance(axis, Continuous):
                groups = self._by_value(kinds, name, space)
                if n_decided := _decided_by(groups.values(), kinds):
                    found.append((-n_decided, len(groups), name, groups))
        *_, name, groups = min(found, default=(0, 0, "", {}))
        return (name, groups) if groups else None

    def _by_value(
        self, members: Iterable[int], name: str, space: Space
    ) -> dict[Coordinate, list[int]]:
        groups: dict[Coordinate, list[int]] = {}
        for number in members:
            value = _coordinate(space, name, self._ended[number].params)
            if value is not None:  # else it was enqueued from outside the distribution
                groups.setdefault(value, []).append(number)
        return groups


def _coordinate(space: Space, name: str, params: Mapping[str, Any]) -> Coordinate | None:
    """Where parameters lie on an axis; None if it is not on it."""
    point = Space({name: space.distributions[name]}).point(params)
    return None if point is None else point[0]


def _decided_by(groups: Collection[Sequence[int]], kinds: Mapping[int, _Kind]) -> int:
    """How many parameters some trials lack, and of each group all trials or none."""
    of_groups = [[kinds[number] for number in group] for group in groups]
    if not of_groups:
        return 0
    every = [frozenset.intersection(*each) for each in of_groups]
    some = [frozenset.union(*each) for each in of_groups]
    unsure = {found for a, b in zip(every, some, strict=True) for found in b - a}
    return len(frozenset.union(*some) - frozenset.intersection(*every) - unsure)
