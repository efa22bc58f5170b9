"""NOMAD as a sampler: replays the study's trials to NOMAD and suggests what it asks for next."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
import threading
from typing import Any
from typing import final

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._nomad.known import best_value
from optuna_partition._nomad.known import Known
from optuna_partition._nomad.run import Coordinates
from optuna_partition._nomad.run import Ended
from optuna_partition._nomad.run import Run
from optuna_partition._nomad.variables import variable
from optuna_partition._study.arguments import checked_flag
from optuna_partition._study.arguments import checked_sampler
from optuna_partition._study.arguments import checked_seed
from optuna_partition._study.arguments import checked_space
from optuna_partition._study.arguments import searched
from optuna_partition._study.attributes import NOMAD
from optuna_partition._study.claims import Claimant
from optuna_partition._study.claims import claims_on
from optuna_partition._study.claims import mutex
from optuna_partition._study.ends import may_take_centre
from optuna_partition._study.failures import write_why
from optuna_partition._study.inferred import InferredSpace
from optuna_partition._study.notices import Notices
from optuna_partition._study.optuna import fixed_by
from optuna_partition._study.optuna import is_enqueued
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.outside.by_trial import name_of
from optuna_partition._study.outside.by_trial import random_by_trial


__all__ = ["NOMADSampler"]

_logger = optuna.logging.get_logger(f"optuna.{__name__}")


@final
class NOMADSampler(BaseSampler):
    """Mesh adaptive direct search (Audet and Dennis 2006) by NOMAD 4 (Audet et al. 2022).

    A local search around the best point, with directions that become dense: a baseline for
    expensive, smooth or noisy functions of few variables. One worker gets the points of
    `PyNomad.optimize`, one by one. All state is in the trials: each ask tells NOMAD their values
    and takes the first point it asks for that no trial has, so a study is resumed anywhere.

    NOMAD asks for one point at a time. With several workers it is told that points in flight have
    failed until their values are known: then the rest of a poll is the same as for one worker, and
    the next poll is closer to the best point than it may need to be. Points that a late success
    makes unnecessary are not wasted for the study, but NOMAD does not learn from them. Beyond
    dimension + 1 workers it is no longer a good choice.

    The search begins at the best trial that was there before (`study.enqueue_trial` a good one),
    else at the centre of the space. Failed and pruned trials are failed evaluations. Categories
    are integers by their index, as if neighbours were alike. A float's range narrower than 1e-6 or
    wider than 1e100 is searched by its shares, since NOMAD takes 1e-13 for nothing. When NOMAD has
    converged, which it does soon in a small finite space, or its process has died, points come
    from `independent_sampler`, and a warning says why.

    NOMAD runs in a process of its own, in whose place a new one is told everything again when
    a point in flight gets its value or another study asks: some ms per trial.

    Needs NOMAD: ``pip install "optuna-partition[nomad]"``.

    Args:
        search_space: Name -> distribution. By default the parameters that all finished trials
            share, after a first trial at the centre of every distribution.
        seed: Of NOMAD's directions and the default `independent_sampler`; the same for all workers
            of a study and when it is resumed. None is NOMAD's own, 0.
        independent_sampler: Samples the parameters outside the search space, and all once NOMAD
            has ended. By default `optuna.samplers.RandomSampler`, by trial if there is a seed.
        warn_independent_sampling: Whether to log a warning when a parameter is sampled so.

    Raises:
        ImportError: PyNomad is not installed.
        ValueError: `seed` is not one of NOMAD's; while sampling, a study has two objectives.

    Example:
        >>> import optuna
        >>> from optuna_partition import NOMADSampler
        >>> study = optuna.create_study(sampler=NOMADSampler())
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
    """

    def __init__(
        self,
        *,
        search_space: dict[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
    ) -> None:
        if find_spec("PyNomad") is None:
            raise ImportError(
                "`NOMADSampler` needs PyNomad; install it with "
                '`pip install "optuna-partition[nomad]"`.'
            )
        given = checked_space(search_space)
        self._given = None if given is None else searched(given)
        self._inferred = InferredSpace()
        self._seed = checked_seed(seed)
        default = random_by_trial(self._seed)
        self._independent_sampler = checked_sampler(independent_sampler) or default
        self._warn_independent_sampling = checked_flag(
            "warn_independent_sampling", warn_independent_sampling
        )
        self._notices = Notices("NOMADSampler")
        self._run: Run | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_run": None}

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
            return self._inferred(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        if not search_space or is_enqueued(trial):
            return {}
        with mutex(study), self._lock:
            try:
                return self._suggest(study, trial, search_space)
            except Ended as ended:
                return self._go_on_without(study, trial, search_space, str(ended))
            except BaseException:
                self._run = None  # it may wait for an answer that it has
                raise

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        if self._given is None and may_take_centre(trials_of(study)[: trial.number]):
            found = variable(param_distribution)
            return found.value(found.centre)
        if is_enqueued(trial):  # enqueued in part: the best point's, else random
            best = best_value(study.direction, trials_of(study), param_name, param_distribution)
            point = {**trial.params, param_name: best}
            if best is not None and all(t.params != point for t in trials_of(study)):
                return best
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
        if state is TrialState.FAIL:
            write_why(study, trial, NOMAD)
        self._notices.constraints(study, trial)
        self._independent_sampler.after_trial(study, trial, state, values)

    def _suggest(
        self, study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Asks NOMAD until a point is this trial's."""
        fixed = {n: x for n, x in fixed_by(study.sampler).items() if n not in space}
        known = Known(space, study.direction, trials_of(study), fixed=fixed)
        if (given := known.given(trial)) is not None:  # a retry: its worker died half-way
            return known.params(given)
        claims = claims_on(study, NOMAD)
        while True:
            point = self._ask(known)
            if claims.take(_claimant(study, trial, known, point)) is None:
                return known.params(point)
            taken = {*known.taken, point}
            known = Known(space, study.direction, trials_of(study), taken, fixed)

    def _ask(self, known: Known) -> Coordinates:
        """The first point NOMAD asks for that no trial has."""
        problem = known.problem(self._seed or 0)
        if self._run is None or not self._run.holds(problem, known.answer):
            self._run = Run(problem)
        while True:
            point = self._run.ask()
            if not known.has(point):
                return point
            self._run.tell(known.answer(point))

    def _go_on_without(
        self, study: Study, trial: FrozenTrial, space: dict[str, BaseDistribution], why: str
    ) -> dict[str, Any]:
        self._notices.nomad_ended(study, trial, self._independent_sampler, why)
        sample = self._independent_sampler.sample_independent
        return {name: sample(study, trial, name, d) for name, d in space.items()}

    def _warn(self, trial: FrozenTrial, param_name: str) -> None:
        if not self._warn_independent_sampling or is_enqueued(trial):
            return
        if self._given is None and trial.number == 0:
            return
        _logger.warning(
            f"The parameter `{param_name}` in trial {trial.number} is sampled independently by "
            f"`{name_of(self._independent_sampler)}`, not by NOMAD, because it is not in "
            "the search space of `NOMADSampler`: give it in `search_space`, or suggest it in "
            "every trial with the same distribution. `warn_independent_sampling=False` silences "
            "this."
        )


def _claimant(study: Study, trial: FrozenTrial, known: Known, point: Coordinates) -> Claimant:
    def holds(trials: Sequence[FrozenTrial], number: int) -> bool:
        return number < len(trials) and known.holds(trials[number], point)

    def taken_by(trials: Sequence[FrozenTrial]) -> int | None:
        others = (t for t in trials if t.number != trial.number)
        return next((t.number for t in others if known.lies_at(t, point)), None)

    name = f"nomad {known.fingerprint} {known.name(point)}"
    return Claimant(trial, name, known.poll(point).to_json(), holds, taken_by)
