"""Parameters that are in no partition, chosen together by the partition's own rule; deterministic.

A parameter has no axis when no trial has ended with it yet, or when whether it is there follows
from no parameter of finitely many values. The first time it is at the centre. Then the rule
searches the space of what all trials with it suggest beyond what this one has decided: its next
cell, as if that space were the whole, and a value were due to it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core import cells
from optuna_partition._rules.repeats import next_again
from optuna_partition._rules.rule import Rule
from optuna_partition._space.space import Space
from optuna_partition._space.values import single
from optuna_partition._study.fold.history import History
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.inferred import fixed_outside
from optuna_partition._study.optuna import enqueued
from optuna_partition._study.optuna import id_of
from optuna_partition._study.optuna import TrialIdentity
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.outside.branches import branch_of
from optuna_partition._study.outside.branches import decided_in
from optuna_partition._study.outside.chosen import Chosen
from optuna_partition._study.outside.chosen import chosen_of
from optuna_partition._study.outside.chosen import OutsideSampler


__all__ = ["RestSampler"]


@final
class RestSampler(OutsideSampler):
    """Chooses what the partition does not.

    Args:
        rule: That of the partition.
        fallback: Has nothing to do here: there is always a point.
    """

    def __init__(self, rule: Rule[Any], fallback: BaseSampler) -> None:
        self._rule = rule
        super().__init__(fallback)

    def _forget(self) -> None:
        super()._forget()
        self._taken: dict[TrialIdentity, dict[str, Any]] = {}  # what it has of the partition

    def __getstate__(self) -> dict[str, Any]:
        return {"_rule": self._rule, "_fallback": self._fallback}

    def take(self, study: Study, trial: FrozenTrial, params: dict[str, Any]) -> None:
        """Keeps what a trial has of the partition, where its point there is one of before."""
        self._taken[id_of(study, trial)] = params

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._taken.pop(id_of(study, trial), None)
        super().after_trial(study, trial, state, values)

    def _choose(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Chosen:
        trials = trials_of(study)
        branch = branch_of(trials, name, distribution) or {name: distribution}
        decided = self._decided_in(study, trial, branch)
        free = {n: d for n, d in branch.items() if n == name or n not in decided}
        history = History(
            _beside(branch, free, decided), self._rule, sign=sign_of(study.direction)
        )
        history.update(trials)
        cell = history.choose().cell
        point = (
            next_again(history.tree) if cell is None else cells.centre(history.space.axes, cell)
        )
        return chosen_of(free, history.space.params(point))

    def _decided_in(
        self, study: Study, trial: FrozenTrial, branch: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What of a branch has its value already, whoever gave it."""
        taken = self._taken.get(id_of(study, trial), {})
        fixed = fixed_outside(study, branch)
        found = {**taken, **decided_in(trial, branch, fixed), **enqueued(trial)}
        return {name: found[name] for name in found if name in branch}


def _beside(
    branch: Mapping[str, BaseDistribution],
    free: Mapping[str, BaseDistribution],
    decided: Mapping[str, Any],
) -> Space:
    """The space of the free parameters, of the trials that have decided alike.

    All trials count where a decided one is a float: there are no two alike.
    """
    if not all(Space({name: branch[name]}).is_finite for name in decided):
        return Space(free)
    alike = {name: single(branch[name], value) for name, value in decided.items()}
    return Space({name: free.get(name, alike.get(name, d)) for name, d in branch.items()})
