"""The ask that all partition samplers share: read the trials, choose a cell, claim it, say it.

Optuna asks a sampler in three steps. It wants to know the search space; then all its parameters at
once, which is the ask proper; and then, one by one, the parameters that are not in the space, or
that a trial was enqueued without.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
import threading
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._rules.repeats import next_again
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.source import KnowledgeOf
from optuna_partition._space.space import AnySpace
from optuna_partition._study.arguments import checked_constraints
from optuna_partition._study.arguments import checked_flag
from optuna_partition._study.arguments import checked_function
from optuna_partition._study.arguments import checked_sampler
from optuna_partition._study.arguments import checked_seed
from optuna_partition._study.arguments import checked_space
from optuna_partition._study.arguments import ConstraintsFunc
from optuna_partition._study.asking import Asking
from optuna_partition._study.attributes import Ask
from optuna_partition._study.attributes import KEY
from optuna_partition._study.claims import mutex
from optuna_partition._study.ends import as_ended
from optuna_partition._study.ends import beyond
from optuna_partition._study.ends import has_one_point
from optuna_partition._study.ends import is_used_up
from optuna_partition._study.ends import unfailed
from optuna_partition._study.ends import used_up
from optuna_partition._study.failures import write_why
from optuna_partition._study.fold.history import History
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.guesses import first_params
from optuna_partition._study.inferred import has_other_range
from optuna_partition._study.inferred import is_space_known
from optuna_partition._study.inferred import SearchSpaces
from optuna_partition._study.notices import in_words
from optuna_partition._study.notices import Notices
from optuna_partition._study.optuna import CONSTRAINTS
from optuna_partition._study.optuna import enqueued
from optuna_partition._study.optuna import id_of
from optuna_partition._study.optuna import identity
from optuna_partition._study.optuna import is_enqueued
from optuna_partition._study.optuna import is_optimizing
from optuna_partition._study.optuna import TrialIdentity
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.optuna import write
from optuna_partition._study.outside.branches import decided_in
from optuna_partition._study.outside.by_trial import random_by_trial
from optuna_partition._study.outside.chosen import Chosen
from optuna_partition._study.outside.chosen import chosen_of
from optuna_partition._study.outside.rest import RestSampler


__all__ = ["PartitionSampler"]


class PartitionSampler(BaseSampler):
    """What every partition sampler shares.

    All state is in the trials. `_history` is a cache of their fold, `_completed` of what was
    claimed for trials that are being suggested: dropping them at any moment changes nothing but
    the time of the next ask.
    """

    def __init__(
        self,
        rule: Rule[Any],
        *,
        search_space: dict[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
        stop_when_exhausted: bool = True,
        show_cells: bool = True,
        branching: bool = False,
        constraints_func: ConstraintsFunc | None = None,
        known: KnowledgeOf | None = None,
    ) -> None:
        self._rule, self._known = rule, known
        self._spaces = SearchSpaces(checked_space(search_space), branching)
        random = random_by_trial(checked_seed(seed))
        default = RestSampler(rule, random) if branching else random
        self._independent_sampler = checked_sampler(independent_sampler) or default
        warns = checked_flag("warn_independent_sampling", warn_independent_sampling)
        self._warn_independent_sampling = warns and not branching
        self._stop_when_exhausted = checked_flag("stop_when_exhausted", stop_when_exhausted)
        self._show_cells = checked_flag("show_cells", show_cells)
        self._constraints_func = checked_function(constraints_func)
        self._notices = Notices(type(self).__name__)
        self._completed: dict[TrialIdentity, Chosen] = {}  # what it is to suggest yet
        self._history: tuple[object, History[Any]] | None = None  # whose fold it is, and the fold
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_history": None, "_completed": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    # ---- what people may ask ----

    def is_exhausted(self, study: Study) -> bool:
        """Whether the next ask has to repeat a point, as GridSampler's: for loops of ask and tell.

        Args:
            study: Of this sampler. `study.optimize` ends by itself, when the last point has its
                value; here points that are being evaluated count, too. An enqueued trial that
                waits is the next ask's. Where parameters are fixed, the points are those left.
        """
        self._raise_error_if_multi_objective(study)
        with self._lock:
            space, trials = self._spaces.left(study), trials_of(study)
            if any(trial.state is TrialState.WAITING for trial in trials):
                return False
            if not space.axes:
                return has_one_point(unfailed(trials))
            if not space.is_finite:
                return False
            tree = self._read(study, space).tree
            return tree.is_taken() and is_used_up(trials, space, tree.n_points)

    def misfits(self, study: Study) -> str:
        """What of a study this sampler does not go on with as if it had not been interrupted.

        Args:
            study: Of this sampler or of another one.

        Returns:
            How many trials were asked for by another rule or over another search space, in words;
            empty if none. They count by where they lie, as other samplers' trials do.
        """
        self._raise_error_if_multi_objective(study)
        with self._lock:
            space = self._spaces.whole(study)
            if not space.axes:
                return ""
            return self._misfits(study, self._read(study, space))

    def _misfits(self, study: Study, history: History[Any]) -> str:
        """With parameters fixed, other spaces are nothing to tell of.

        Nor are they in an inferred space, unless a range has changed.
        """
        trials, space, given = trials_of(study), history.space, self._spaces.given
        whole = self._spaces.whole(study)
        is_whole = space.distributions == given

        def is_told_of(number: int, ask: Ask) -> bool:
            if given is None:
                return ask.rule != self._rule.name or has_other_range(trials[number], whole)
            return ask.rule != self._rule.name or (is_whole and not ask.partial)

        told_of = [number for number, ask in history.misfits.items() if is_told_of(number, ask)]
        return in_words(told_of, trials, space)

    # ---- a trial's way through Optuna ----

    def reseed_rng(self) -> None:
        self._independent_sampler.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._independent_sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        with self._lock:
            return dict(self._spaces.whole(study).distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        if not search_space or enqueued(trial).keys() & search_space.keys():
            return {}  # enqueued in part: it is completed when the objective asks
        with mutex(study), self._lock:
            try:
                space = self._spaces.without(study, search_space)
                if not space.axes:  # a trial has ended meanwhile and shares none of it
                    return {}
                params = self._ask(study, trial, self._read(study, space))
            except BaseException:
                self._history = None  # it may hold what no trial says
                raise
        return {name: value for name, value in params.items() if name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        with mutex(study), self._lock:
            completed = self._complete(study, trial, param_name, param_distribution)
        distribution, value = completed.get(param_name, (None, None))
        if distribution == param_distribution:
            return value
        if self._spaces.given is None:
            trials = trials_of(study)
            first = first_params(self._known, trials, trial, param_name, param_distribution)
            if param_name in first:
                return first[param_name]
        self._warn_independent(study, trial, param_name)
        return self._independent_sampler.sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if state is TrialState.FAIL:
            write_why(study, trial, KEY)
        self._completed.pop(id_of(study, trial), None)
        if state is TrialState.COMPLETE:
            self._warn_unsuggested(study, trial)
        if self._stop_when_exhausted and is_optimizing(study):
            with self._lock:
                if self._is_last(study, trial, state):
                    study.stop()
        self._independent_sampler.after_trial(study, trial, state, values)
        if self._constraints_func is not None and state is not TrialState.FAIL:
            self._constrain(study, trial, self._constraints_func)

    def _constrain(self, study: Study, trial: FrozenTrial, function: ConstraintsFunc) -> None:
        """Writes a trial's constraints; its errors are the user's to see, as of Optuna's samplers.

        The attribute is written in any case, so that the trial is told from one that has none yet.
        """
        constraints = None
        try:
            constraints = checked_constraints(function(trial), trial.number)
        finally:
            write(study, trial, CONSTRAINTS, constraints)

    def _is_last(self, study: Study, trial: FrozenTrial, state: TrialState) -> bool:
        """Whether every point has its value when a trial ends."""
        history = self._history_of(study)
        if history is None and state is TrialState.FAIL:
            return False  # it may not have come to its other parameters
        space = self._spaces.whole(study) if history is None else history.space
        if not space.axes:
            return has_one_point(trials_of(study))
        if not space.is_finite or has_other_range(trial, self._spaces.whole(study)):
            return False
        tree, trials = self._read(study, space).tree, trials_of(study)
        if not tree.is_exhausted(but=trial.number):
            return False
        return is_used_up(as_ended(trials, trial, state), space, tree.n_points)

    # ---- the ask: all parameters of the space at once ----

    def _ask(self, study: Study, trial: FrozenTrial, history: History[Any]) -> dict[str, Any]:
        """The parameters of a trial: of the point it has had before, else of the rule's next."""
        asked = Ask.of(trial)
        if asked is not None and not asked.announced:  # a retry: its worker died half-way
            if (point := history.space.point_of(asked.named)) is not None:
                return history.space.params(point)
            if trial.params:  # of another space: it is completed when the objective asks
                return {}
        elif _is_decided_in_part(trial, history.space):  # a retry, too, that was never asked
            return {}
        asking = Asking(study, trial, history)
        partial = self._spaces.is_partial(history.space)
        point = asking.next_point(partial=partial, shows_cell=self._show_cells)
        if point is None:
            self._history = None  # no trial says what was opened in search of a point
            return self._repeat(study, trial, self._read(study, history.space))
        return history.space.params(point)

    def _repeat(self, study: Study, trial: FrozenTrial, history: History[Any]) -> dict[str, Any]:
        """An answer when every point is taken: any point, as GridSampler does.

        Where trials have more parameters, the point of the branch that is to be searched next;
        those in flight may be such trials. Where not, a point in flight, whose trial may be lost.
        """
        space, trials = history.space, trials_of(study)
        has_branches = any(beyond(t, space) for t in trials)
        if not has_branches:
            self._notices.repeat(trial)
        is_running = any(not t.state.is_finished() for t in trials if t.number != trial.number)
        if has_branches or is_running:
            done = used_up((t for t in trials if t.number != trial.number), space)
            params = space.params(next_again(history.tree, done))
            if isinstance(self._independent_sampler, RestSampler):
                self._independent_sampler.take(study, trial, params)
            return params
        sample = self._independent_sampler.sample_independent
        return {name: sample(study, trial, name, d) for name, d in space.distributions.items()}

    # ---- one parameter: trials that are decided in part, and what no partition has ----

    def _complete(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Chosen:
        """All parameters of a trial that nobody asked a cell for, chosen on its slice at once."""
        if id_of(study, trial) in self._completed:
            return self._completed[id_of(study, trial)]
        space = self._spaces.left(study)
        if not space.knows(name, distribution):
            return {}
        ask, history = Ask.of(trial), self._read(study, space)
        if ask is not None and space.point_of(ask.named) is not None:  # its range there is another
            return {}
        params = {**enqueued(trial), **decided_in(trial, space.distributions)}
        decided = {name: x for name, x in params.items() if name in space.distributions}
        point = Asking(study, trial, history).point_on_slice(decided, self._known)
        chosen = {} if point is None else chosen_of(space.present(point), space.params(point))
        self._completed[id_of(study, trial)] = chosen
        return chosen

    # ---- the fold ----

    def _read(self, study: Study, space: AnySpace) -> History[Any]:
        """The fold of the study's trials, as they are in the storage now."""
        trials, history = trials_of(study), self._history_of(study)
        is_same = history is not None and history.space.fingerprint == space.fingerprint
        if history is None or not is_same or not history.continues(trials):
            inferred = self._spaces.given is None and space.growth is None
            sign = sign_of(study.direction)
            history = History(space, self._rule, sign=sign, inferred=inferred)
            if self._known is not None:
                history.remember(self._known(space.distributions))
            self._history = (identity(study), history)
        history.update(trials)
        self._notices.overdue(study, history.tree.overdue)
        self._notices.misfits(study, self._rule.name, partial(self._misfits, study, history))
        return history

    def _history_of(self, study: Study) -> History[Any] | None:
        """The fold that was read last, if it is of this study."""
        if self._history is None or self._history[0] != identity(study):
            return None
        return self._history[1]

    # ---- what people are told ----

    def _warn_unsuggested(self, study: Study, trial: FrozenTrial) -> None:
        unsuggested = sorted((self._spaces.given or {}).keys() - trial.params.keys())
        if unsuggested and self._warn_independent_sampling:
            self._notices.unsuggested(study, trial, unsuggested)

    def _warn_independent(self, study: Study, trial: FrozenTrial, name: str) -> None:
        """Unless it is clear why: the trial was enqueued in part.

        Where the rule itself searches what is outside the partition, nothing is lost.
        """
        if is_enqueued(trial):
            return
        if self._warn_independent_sampling:
            self._notices.independent(trial, name, self._independent_sampler)
        elif not isinstance(self._independent_sampler, RestSampler):
            if not self._spaces.whole(study).distributions and is_space_known(trials_of(study)):
                self._notices.nothing_shared(study, trial)


def _is_decided_in_part(trial: FrozenTrial, space: AnySpace) -> bool:
    """Whether a trial had a choice among a parameter's values, and has made it."""
    decided = {name for name, d in trial.distributions.items() if not d.single()}
    return not decided.isdisjoint(space.distributions)
