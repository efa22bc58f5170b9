"""The ask that all partition samplers share: read the trials, choose a cell, claim it, say it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import copy
from dataclasses import replace
import threading
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core import cells
from optuna_partition._core.cells import Cell
from optuna_partition._core.cells import Point
from optuna_partition._rules.again import again
from optuna_partition._rules.rule import Choice
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.slices import on_slice
from optuna_partition._space.space import AnySpace
from optuna_partition._space.space import single
from optuna_partition._space.space import Space
from optuna_partition._study.arguments import checked_sampler
from optuna_partition._study.arguments import checked_seed
from optuna_partition._study.arguments import checked_space
from optuna_partition._study.branches import decided_in
from optuna_partition._study.claims import Claimant
from optuna_partition._study.claims import claims_on
from optuna_partition._study.claims import mutex
from optuna_partition._study.constraints import Unconstrained
from optuna_partition._study.early import first_value
from optuna_partition._study.inferred import identity
from optuna_partition._study.inferred import InferredBranches
from optuna_partition._study.inferred import InferredSpace
from optuna_partition._study.inferred import is_begun
from optuna_partition._study.misfits import in_words
from optuna_partition._study.optuna import fixed_outside
from optuna_partition._study.optuna import has_one_point
from optuna_partition._study.optuna import is_interrupted
from optuna_partition._study.optuna import searched
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.record import Ask
from optuna_partition._study.record import ATTEMPTS
from optuna_partition._study.record import completion
from optuna_partition._study.record import FAILED
from optuna_partition._study.record import History
from optuna_partition._study.record import is_asking
from optuna_partition._study.record import KEY
from optuna_partition._study.rest import Chosen
from optuna_partition._study.rest import chosen_of
from optuna_partition._study.rest import RestSampler
from optuna_partition._study.used_up import beyond
from optuna_partition._study.used_up import used_up


__all__ = ["PartitionSampler"]

_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class PartitionSampler(BaseSampler):
    """What every partition sampler shares: read the trials, choose a cell, write it down.

    All state is in the trials. `_history` is a cache of their fold, and dropping it at any moment
    changes nothing but the time of the next ask.
    """

    def __init__(
        self,
        rule: Rule[Any],
        search_space: dict[str, BaseDistribution] | None,
        seed: int | None,
        independent_sampler: BaseSampler | None,
        warn_independent_sampling: bool,
        stop_when_exhausted: bool,
        show_cells: bool,
        branching: bool = False,
    ) -> None:
        self._rule = rule
        given = checked_space(search_space)
        self._given = None if given is None else searched(given)
        self._inferred = InferredSpace()
        self._branches = InferredBranches() if branching else None
        self._last_plain = Space({})
        random = RandomSampler(seed=checked_seed(seed))
        default = RestSampler(rule, random) if branching else random
        self._independent_sampler = checked_sampler(independent_sampler) or default
        self._warn_independent_sampling = warn_independent_sampling and not branching
        self._stop_when_exhausted = stop_when_exhausted
        self._show_cells = show_cells
        self._unconstrained = Unconstrained()
        self._completed: dict[int, Chosen] = {}  # trial id -> what it is to suggest yet
        self._warned_unsuggested = False
        self._told_misfits: tuple[int, int] | None = None  # the study they were told of
        self._history: tuple[object, History[Any]] | None = None  # whose fold it is, and the fold
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_history": None, "_completed": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def reseed_rng(self) -> None:
        self._independent_sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if self._given is not None:
            return dict(self._given)
        with self._lock:
            return dict(self._whole(study).distributions)

    def is_exhausted(self, study: Study) -> bool:
        """Whether the next ask has to repeat a point, as GridSampler's: for loops of ask and tell.

        Args:
            study: Of this sampler. `study.optimize` ends by itself, when the last point has its
                value; here points that are being evaluated count, too.
        """
        self._raise_error_if_multi_objective(study)
        with self._lock:
            space, trials = self._whole(study), trials_of(study)
            if not space.axes:
                return has_one_point(_unfailed(trials))
            if not space.is_finite:
                return False
            tree = self._read(study, space).tree
            return tree.is_taken() and self._is_used_up(trials, space, tree.n_points)

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
            space = self._whole(study)
            return self._misfits_in_words(study, self._read(study, space)) if space.axes else ""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        with mutex(study._storage), self._lock:
            try:
                params = self._ask(study, trial, search_space)
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
        with mutex(study._storage), self._lock:
            completed = self._complete(study, trial, param_name, param_distribution)
            distribution, value = completed.get(param_name, (None, None))
            if distribution == param_distribution:
                return value
        if self._given is None and self._begins(study, trial):
            space = Space({param_name: param_distribution})
            root = cells.root(space.axes)
            return space.params(cells.centre(space.axes, root))[param_name]
        if self._given is None and not is_begun(trials_of(study)):
            return first_value(trial.number, trial.distributions, param_distribution)
        self._warn(trial, param_name)
        return self._independent_sampler.sample_independent(
            study, trial, param_name, param_distribution
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._independent_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if state is TrialState.FAIL and trial.params and not is_interrupted():
            ask = trial.system_attrs.get(KEY)
            key, mark = (FAILED, True) if ask is None else (KEY, {**ask, "failed": True})
            study._storage.set_trial_system_attr(trial._trial_id, key, mark)
        self._completed.pop(trial._trial_id, None)
        if state is TrialState.COMPLETE:
            self._warn_unsuggested(trial)
        if self._stop_when_exhausted and study._thread_local.in_optimize_loop:
            with self._lock:
                self._stop_if_exhausted(study, trial, state)
        self._unconstrained(self, study, trial)
        self._independent_sampler.after_trial(study, trial, state, values)

    # ---- trials whose parameters are decided in part ----

    def _complete(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Chosen:
        """All parameters of a trial that nobody asked a cell for, chosen on its slice at once."""
        if trial._trial_id in self._completed:
            return self._completed[trial._trial_id]
        space = self._whole(study)
        if not space.knows(name, distribution):
            return {}
        ask, history = Ask.of(trial), self._read(study, space)
        if ask is not None and space.spot(ask.named) is not None:  # its range there is another
            return {}
        fixed = trial.system_attrs.get("fixed_params", {})
        params = {**fixed, **decided_in(trial, space.distributions)}
        decided = {n: v for n, v in params.items() if n in space.distributions}
        point = self._claim_on_slice(study, trial, history, decided)
        chosen = {} if point is None else chosen_of(space.present(point), space.params(point))
        self._completed[trial._trial_id] = chosen
        return chosen

    def _claim_on_slice(
        self, study: Study, trial: FrozenTrial, history: History[Any], params: dict[str, Any]
    ) -> Point | None:
        """The best point of the slice that is this trial's; None where all are taken."""
        decided = history.space.decided(params)
        if decided is None:  # a value from outside lies on no slice
            return None
        claims = claims_on(study._storage, KEY)
        while True:
            point = next(on_slice(history.tree, decided, but=trial.number), None)
            if point is None:
                return None
            carried = completion(history.space, point)
            holder = claims.take(self._claimant(study, trial, history, carried, point))
            if holder is None:
                return point
            history.update(trials_of(study))
            history.hold(holder, point, asking=trial.number)

    # ---- the shared ask ----

    def _ask(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if trial.system_attrs.get("fixed_params", {}).keys() & search_space.keys():
            return {}  # enqueued in part: it is completed when the objective asks
        history = self._read(study, self._space(study, search_space))
        asked = Ask.of(trial)
        if asked is not None and not asked.announced:  # a retry: its worker died half-way
            if (spot := history.space.spot(asked.named)) is not None:
                return history.space.params(spot)
            if trial.params:  # of another space: it is completed when the objective asks
                return {}
        point = self._claim(study, trial, history)
        if point is None:
            self._history = None  # no trial says what was opened in search of a point
            history = self._read(study, history.space)
            return self._ask_again(study, trial, history)
        return history.space.params(point)

    def _claim(self, study: Study, trial: FrozenTrial, history: History[Any]) -> Point | None:
        """Chooses points until one is this trial's; None when every point is taken."""
        claims = claims_on(study._storage, KEY)
        opened: tuple[Cell, ...] = ()
        bounds: tuple[tuple[Cell, float], ...] = ()
        others = 0
        while True:
            choice = history.choose(others)
            opened, bounds = opened + choice.opened, bounds + choice.bounds
            if choice.cell is None:
                return None
            ask = self._log(history, replace(choice, opened=opened, bounds=bounds))
            point = cells.centre(history.space.axes, choice.at or choice.cell)
            holder = claims.take(self._claimant(study, trial, history, ask.to_json(), point))
            if holder is None:
                self._show(study, trial, history, ask, choice.cell)
                return point
            trials = trials_of(study)
            history.update(trials)
            history.hold(holder, point, asking=trial.number)
            others = sum(map(is_asking, trials[: trial.number]))

    def _is_partial(self, search_space: Mapping[str, BaseDistribution]) -> bool:
        """Whether someone, PartialFixedSampler for one, has taken parameters out of the space."""
        return self._given is not None and search_space != self._given

    def _log(self, history: History[Any], choice: Choice[Any]) -> Ask:
        assert choice.cell is not None
        asked = history.space.asked(choice.cell)
        return Ask(
            rule=self._rule.name,
            space=asked.space,
            axes=asked.axes,
            cell=asked.cell,
            opened=tuple(map(history.space.opened, choice.opened)),
            cursor=self._rule.dump(choice.cursor),
            partial=self._is_partial(history.space.distributions),
            at=choice.at,
            bounds=choice.bounds,
        )

    def _show(
        self, study: Study, trial: FrozenTrial, history: History[Any], ask: Ask, cell: Cell
    ) -> None:
        """What the ask decided, where optuna-dashboard shows it: system attributes it does not."""
        if not self._show_cells:
            return
        depth = history.space.depth(cell)
        shown = {"rule": ask.rule, "depth": depth, "cell": ask.to_json()["cell"]}
        study._storage.set_trial_user_attr(trial._trial_id, KEY, shown)

    def _claimant(
        self,
        study: Study,
        trial: FrozenTrial,
        history: History[Any],
        carried: dict[str, Any],
        point: Point,
    ) -> Claimant:
        def write(more: dict[str, Any]) -> None:
            study._storage.set_trial_system_attr(trial._trial_id, KEY, {**carried, **more})

        def holds(number: int) -> bool:
            trials = trials_of(study)
            history.update(trials)
            if history.tree.has(point, but=trial.number):
                return True  # meanwhile; perhaps by the retry of that trial
            return number < len(trials) and history.holds(trials[number], point)

        return Claimant(
            study._study_id, trial.number, history.space.point_name(point), write, holds
        )

    def _whole(self, study: Study) -> AnySpace:
        """The space that is searched unless someone has taken parameters out of it."""
        if self._given is not None:
            return self._plain(self._given)
        conditional = None if self._branches is None else self._branches(study)
        return conditional or self._plain(self._inferred(study))

    def _plain(self, distributions: dict[str, BaseDistribution]) -> Space:
        """The space of some parameters, made once as long as they stay the same."""
        if list(self._last_plain.distributions.items()) != list(distributions.items()):
            self._last_plain = Space(distributions)
        return self._last_plain

    def _space(self, study: Study, search_space: dict[str, BaseDistribution]) -> AnySpace:
        """The space of what is to be searched; without branches where parameters are missing."""
        whole = self._whole(study)
        if whole.distributions == search_space:
            return whole
        fixed = fixed_outside(study, whole.distributions)
        if fixed and self._branches is not None:
            conditional = self._branches(study, fixed)
            if conditional is not None:
                return conditional
        common = self._inferred(study) if self._given is None else self._given
        kept = {n: d for n, d in common.items() if n in {*search_space, *fixed}}
        return self._plain({n: single(d, fixed[n]) if n in fixed else d for n, d in kept.items()})

    def _read(self, study: Study, space: AnySpace) -> History[Any]:
        """The fold of the study's trials, as they are in the storage now."""
        trials = trials_of(study)
        history = self._cached(study, space, trials)
        if history is None:
            sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
            history = History(
                space,
                self._rule,
                sign=sign,
                inferred=self._given is None and space.growth is None,
            )
            self._history = (identity(study), history)
        history.update(trials)
        self._tell_misfits(study, history)
        return history

    def _cached(
        self,
        study: Study,
        space: AnySpace,
        trials: Sequence[FrozenTrial],
    ) -> History[Any] | None:
        if self._history is None:
            return None
        of, history = self._history
        same = of == identity(study) and history.space.fingerprint == space.fingerprint
        return history if same and history.continues(trials) else None

    def _ask_again(
        self, study: Study, trial: FrozenTrial, history: History[Any]
    ) -> dict[str, Any]:
        """An answer when every point is taken: any point, as GridSampler does.

        Where trials have more parameters, the point of the branch that is to be searched next;
        those in flight may be such trials, unless the space is given.
        """
        space, trials = history.space, trials_of(study)
        done = used_up((t for t in trials if t.state.is_finished()), space)
        has_branches = any(beyond(t, space) for t in trials)
        if not has_branches:
            _logger.warning(
                f"`{type(self).__name__}` evaluates a point again in trial {trial.number} because "
                "every point of the search space is evaluated or in flight."
            )
        running = [t for t in trials if not t.state.is_finished() and t.number != trial.number]
        if has_branches or (running and self._branches is not None):
            params = space.params(again(history.tree, done))
            if isinstance(self._independent_sampler, RestSampler):
                self._independent_sampler.take(trial, params)
            return params
        sample = self._independent_sampler.sample_independent
        return {name: sample(study, trial, name, d) for name, d in space.distributions.items()}

    # ---- the ends of a study ----

    def _begins(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether no earlier trial has a parameter, so that this one may take the centre.

        One that was interrupted does not count, unless the centre has been so too often.
        """
        earlier = trials_of(study)[: trial.number]
        # one that runs and has no parameter yet will take the centre
        earlier = [t for t in earlier if t.params or t.state is TrialState.RUNNING]
        again = all(t.state is TrialState.FAIL and FAILED not in t.system_attrs for t in earlier)
        return again and len(earlier) < ATTEMPTS

    def _tell_misfits(self, study: Study, history: History[Any]) -> None:
        """Says once of a study that some of its trials have a log that is another tree's."""
        if self._told_misfits == identity(study):
            return
        if told := self._misfits_in_words(study, history):
            self._told_misfits = identity(study)
            _logger.warning(
                f"{told}; `{type(self).__name__}` asks by `{self._rule.name}`. Its partition "
                "begins anew, from where trials lie."
            )

    def _misfits_in_words(self, study: Study, history: History[Any]) -> str:
        """In an inferred space, and with parameters fixed, other spaces are nothing to tell of."""
        whole = history.space.distributions == self._given
        told_of = [
            number
            for number, ask in history.misfits.items()
            if ask.rule != self._rule.name or (whole and not ask.partial)
        ]
        return in_words(told_of, trials_of(study), history.space) if told_of else ""

    def _stop_if_exhausted(self, study: Study, trial: FrozenTrial, state: TrialState) -> None:
        if self._history is None or self._history[0] != identity(study):
            if state is TrialState.FAIL:  # it may not have come to its other parameters
                return
            space = self._whole(study)
            if not space.axes:
                if has_one_point(trials_of(study)):
                    study.stop()
                return
            self._read(study, space)
        assert self._history is not None
        space = self._history[1].space
        if not space.is_finite:
            return
        tree = self._read(study, space).tree
        if tree.is_exhausted(but=trial.number):
            ended = copy.copy(trial)
            ended.state = state
            others = (t for t in trials_of(study) if t.number != trial.number)
            if self._is_used_up([*others, ended], space, tree.n_points):
                study.stop()

    def _is_used_up(self, trials: Sequence[FrozenTrial], space: AnySpace, n_points: float) -> bool:
        """Whether there is nothing more to the points, all of which are taken."""
        if not any(beyond(trial, space) for trial in trials):
            return True
        ended = (trial for trial in trials if trial.state.is_finished())
        return len(used_up(ended, space)) == n_points

    def _warn_unsuggested(self, trial: FrozenTrial) -> None:
        """Once: the tree cuts an axis that no trial moves along, and points come again."""
        unsuggested = sorted((self._given or {}).keys() - trial.params.keys())
        if not unsuggested or not self._warn_independent_sampling:
            return
        if not self._warned_unsuggested:
            self._warned_unsuggested = True
            _logger.warning(
                f"`search_space` has {', '.join(f'`{name}`' for name in unsuggested)}, which "
                f"trial {trial.number} did not suggest, so that points may be evaluated again: "
                "correct the name, and leave out parameters that not every trial suggests."
            )

    def _warn(self, trial: FrozenTrial, param_name: str) -> None:
        if not self._warn_independent_sampling or "fixed_params" in trial.system_attrs:
            return
        if self._given is None and trial.number == 0:
            return
        name = type(self).__name__
        _logger.warning(
            f"The parameter `{param_name}` in trial {trial.number} is sampled independently by "
            f"`{type(self._independent_sampler).__name__}`, outside the partition, because it is "
            f"not in the search space of `{name}`: give it in `search_space`, or suggest it in "
            "every trial with the same distribution. `warn_independent_sampling=False` silences "
            "this."
        )


def _unfailed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state is not TrialState.FAIL]
