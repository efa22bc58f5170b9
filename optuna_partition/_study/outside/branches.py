"""Parameters of branches: a model of each branch, given what its trial has decided; no torch.

A parameter that some trials lack is in no partition. Its branch is what all trials with it have in
common, the partition's parameters included; the model of a branch sees those trials alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import final
from typing import TypeAlias

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core import cells
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Beliefs
from optuna_partition._rules.belief import Box
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Fit
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.rule import Rule
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import Space
from optuna_partition._space.values import single
from optuna_partition._study.attributes import Ask
from optuna_partition._study.attributes import fit_of
from optuna_partition._study.attributes import FITS
from optuna_partition._study.attributes import with_fit
from optuna_partition._study.fold.history import History
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.inferred import fixed_outside
from optuna_partition._study.optuna import Identity
from optuna_partition._study.optuna import identity
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.optuna import write
from optuna_partition._study.outside.chosen import Chosen
from optuna_partition._study.outside.chosen import chosen_of
from optuna_partition._study.outside.chosen import OutsideSampler


__all__ = ["BranchSampler", "branch_of", "decided_in"]

Params: TypeAlias = dict[str, Any]


@final
class BranchSampler(OutsideSampler):
    """Chooses a branch's parameters together, where the model expects most of them.

    What the partition has chosen, and what the trial has suggested, stays as it is. Points in
    flight count as in the partition, and fits are kept in the trials that made them.

    Args:
        rule: That of the partition; its trials are read.
        beliefs: The model.
        fallback: Samples where a branch has too few values for one, or no point left.
    """

    def __init__(self, rule: Rule[Any], beliefs: Beliefs, fallback: BaseSampler) -> None:
        self._rule, self._beliefs = rule, beliefs
        super().__init__(fallback)

    def _forget(self) -> None:
        super()._forget()
        self._histories: dict[tuple[Identity, str], History[Any]] = {}  # study and branch -> fold

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_rule", "_beliefs", "_fallback")
        return {name: self.__dict__[name] for name in kept}

    def _choose(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Chosen:
        """All of the branch that is not decided; nothing where there is no model."""
        trials = trials_of(study)
        branch = branch_of(trials, name, distribution)
        decided = decided_in(trial, branch, fixed_outside(study, branch))
        free = {n: d for n, d in branch.items() if n not in decided}
        if not decided or name not in free:
            return {}
        history = self._read(study, Space(branch), trials)
        posterior = self._believe(study, trial, trials, history)
        params = posterior and _promising(posterior, history, decided)
        return chosen_of(free, params) if params else {}

    def _read(self, study: Study, space: Space, trials: Sequence[FrozenTrial]) -> History[Any]:
        """The fold of the study's trials over a branch."""
        key = identity(study), space.fingerprint
        history = self._histories.get(key)
        if history is None or not history.continues(trials):
            history = History(space, self._rule, sign=sign_of(study.direction))
            self._histories[key] = history
        history.update(trials)
        return history

    def _believe(
        self,
        study: Study,
        trial: FrozenTrial,
        trials: Sequence[FrozenTrial],
        history: History[Any],
    ) -> Posterior | None:
        """The model of a branch; a new fit is kept in the trial it was made for."""
        space = history.space
        last = max((fit_of(t, space.fingerprint) for t in trials), default=Fit(0, ()))
        model, evidence = self._beliefs(space.axes), Evidence.of(history.tree)
        posterior, fit = renewed(model, evidence, last)
        if fit != last:
            write(study, trial, FITS, with_fit(trial, space.fingerprint, fit))
        return posterior


def branch_of(
    trials: Sequence[FrozenTrial], name: str, distribution: BaseDistribution
) -> dict[str, BaseDistribution]:
    """What all trials with a parameter share; a trial that failed may not have come to all."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    mates = [
        t.distributions
        for t in trials
        if t.state in ended and t.distributions.get(name) == distribution
    ]
    if not mates:
        return {}
    first, *others = mates
    return {
        name: d
        for name, d in first.items()
        if not d.single() and all(other.get(name) == d for other in others)
    }


def decided_in(
    trial: FrozenTrial,
    branch: Mapping[str, BaseDistribution],
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Params:
    """What the partition has chosen and what the trial has suggested, of a branch.

    Args:
        trial: The trial.
        branch: Its parameters.
        fixed: Those that are fixed, with their values; they have one value each in an ask.
    """
    suggested = {name: value for name, value in trial.params.items() if name in branch}
    decided = {**fixed, **suggested}
    ask = Ask.of(trial)
    if ask is None:
        return decided
    ranges = {n: single(d, fixed[n]) if n in fixed else d for n, d in branch.items()}
    asked = Space({name: ranges[name] for name in ask.axes if name in branch})
    if asked.fingerprint != ask.space:  # the partition's space has changed meanwhile
        return decided
    return asked.params(cells.centre(asked.axes, ask.evaluated)) | decided


def _promising(posterior: Posterior, history: History[Any], decided: Params) -> Params | None:
    """The most promising point with the decided parameters that nobody has asked for."""
    space, box = history.space, _box(history.space, decided)
    if box is None:
        return None
    try:
        found = posterior.promising(box)
    except BeliefFailed:
        return None
    for x in found:
        at = tuple(axis.pin(float(u)) for axis, u in zip(space.axes, x, strict=True))
        if not history.tree.is_asked(at):
            return space.params(cells.centre(space.axes, at))
    return None


def _box(space: AnySpace, decided: Params) -> Box | None:
    """The space where the decided parameters are what they are; None if they lie outside it."""
    units = Space({name: space.distributions[name] for name in decided}).unit(decided)
    if units is None:
        return None
    low = np.array([units.get(name, 0.0) for name in space.distributions])
    return low, np.array([units.get(name, 1.0) for name in space.distributions])
