"""The samplers and pruners of the command, by name."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.study import Study

from objectives.errors import UserError
from objectives.settings.plan import LoraPlan
from objectives.settings.plan import Plan
from objectives.settings.search.ranges import Expectation
from objectives.settings.search.ranges import Expected
from objectives.settings.sections.study import StudySettings
import optuna_partition
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import LogNormal
from optuna_partition import NOMADSampler
from optuna_partition import Normal
from optuna_partition import SOOSampler
from optuna_partition.samplers import ByTrial


__all__ = ["PRUNERS", "SAMPLERS", "sampler_of"]

Space = dict[str, BaseDistribution]


SAMPLERS: Mapping[str, Callable[[Space, StudySettings], BaseSampler]] = {
    "bamsoo": lambda space, study: _bamsoo(space, study, [], {}, resumes=False),
    "soo": lambda space, study: SOOSampler(search_space=space, seed=study.seed),
    "direct": lambda space, study: DIRECTSampler(search_space=space, seed=study.seed),
    "nomad": lambda space, study: NOMADSampler(search_space=space, seed=study.seed),
    "lhs": lambda space, study: LatinHypercubeSampler(n_trials=study.trials, seed=study.seed),
    "bo": lambda space, study: _bayesian(study.seed),
    "tpe": lambda space, study: ByTrial(TPESampler, study.seed),
    "gp": lambda space, study: ByTrial(GPSampler, study.seed),
    "random": lambda space, study: ByTrial(RandomSampler, study.seed),
}
# Of the number of reports in a trial, if it is known: Optuna would learn it from the first trial
# that finishes, and until then its Hyperband prunes nothing.
PRUNERS: Mapping[str, Callable[[int | None], optuna.pruners.BasePruner]] = {
    "none": lambda parts: optuna.pruners.NopPruner(),
    "median": lambda parts: optuna.pruners.MedianPruner(),
    "hyperband": lambda parts: optuna.pruners.HyperbandPruner(max_resource=parts or "auto"),
    "asha": lambda parts: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=3
    ),
    "bound": lambda parts: optuna_partition.BoundPruner(last_step=parts),
}


def sampler_of(plan: Plan, previous: Sequence[Study] = ()) -> BaseSampler:
    """The sampler of a plan.

    Args:
        plan: Names it.
        previous: What the plan names earlier studies, loaded.

    Raises:
        UserError: A package of it is missing, or an earlier study has several objectives.
    """
    name, space, study = plan.settings.sampler, plan.experiment.search_space(), plan.settings
    prior = plan.experiment.search.prior()
    resumes = isinstance(plan, LoraPlan) and study.kept_checkpoints == "pruned"
    try:
        if name == "bamsoo":
            return _bamsoo(space, study, previous, prior, resumes=resumes)
        return SAMPLERS[name](space, study)
    except ImportError as error:
        raise UserError(f"--sampler {name}: {error}") from None
    except ValueError as error:
        raise UserError(f"--previous: {error}") from None


def _bamsoo(
    space: Space,
    study: StudySettings,
    previous: Sequence[Study],
    prior: Mapping[str, Expectation],
    *,
    resumes: bool,
) -> BaseSampler:
    return BaMSOOSampler(
        search_space=space,
        deterministic=True,  # every training starts from the same seed
        resumes=resumes,
        seed=study.seed,
        previous=previous,
        prior={name: _as_prior(expected) for name, expected in prior.items()},
    )


def _as_prior(expected: Expectation) -> Any:
    if not isinstance(expected, Expected):
        return expected  # a choice
    if expected.factor is not None:
        return LogNormal(expected.at, expected.factor)
    if expected.deviation is not None:
        return Normal(expected.at, expected.deviation)
    return expected.at


def _bayesian(seed: int) -> BaseSampler:
    """Gaussian process and expected improvement after a Latin hypercube, as in the research.

    It does not see running trials, as it is there: workers who know the same ask for the same.
    """
    try:
        from optuna_integration import BoTorchSampler
    except ImportError:
        raise ImportError(
            "`BoTorchSampler` is missing; install it with `pip install optuna-integration botorch`"
        ) from None
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # one per trial
    start = 10
    latin = LatinHypercubeSampler(n_trials=start, seed=seed)
    sampler: BaseSampler = BoTorchSampler(
        n_startup_trials=start, independent_sampler=latin, seed=seed
    )
    return sampler
