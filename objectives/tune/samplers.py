"""The samplers and pruners of the command, by name."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from objectives.errors import UserError
from objectives.settings.plan import Plan
from objectives.settings.sections import StudySettings
from objectives.tune.drawing import DrawnPerTrial
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler


__all__ = ["PRUNERS", "SAMPLERS", "sampler_of"]

Space = dict[str, BaseDistribution]

SAMPLERS: Mapping[str, Callable[[Space, StudySettings], BaseSampler]] = {
    "bamsoo": lambda space, study: BaMSOOSampler(
        search_space=space, independent_sampler=DrawnPerTrial(TPESampler, study.seed)
    ),
    "soo": lambda space, study: SOOSampler(
        search_space=space, independent_sampler=DrawnPerTrial(RandomSampler, study.seed)
    ),
    "direct": lambda space, study: DIRECTSampler(
        search_space=space, independent_sampler=DrawnPerTrial(RandomSampler, study.seed)
    ),
    "nomad": lambda space, study: NOMADSampler(
        search_space=space,
        seed=study.seed,
        independent_sampler=DrawnPerTrial(RandomSampler, study.seed),
    ),
    "lhs": lambda space, study: LatinHypercubeSampler(n_trials=study.trials, seed=study.seed),
    "bo": lambda space, study: _bayesian(study.seed),
    "tpe": lambda space, study: DrawnPerTrial(TPESampler, study.seed),
    "gp": lambda space, study: DrawnPerTrial(GPSampler, study.seed),
    "random": lambda space, study: DrawnPerTrial(RandomSampler, study.seed),
}
# Of the number of reports in a trial: Optuna would learn it from the first trial that finishes,
# and until then its Hyperband prunes nothing.
PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda parts: optuna.pruners.NopPruner(),
    "median": lambda parts: optuna.pruners.MedianPruner(),
    "hyperband": lambda parts: optuna.pruners.HyperbandPruner(max_resource=parts),
    "asha": lambda parts: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=3
    ),
}


def sampler_of(plan: Plan) -> BaseSampler:
    name = plan.settings.sampler
    try:
        return SAMPLERS[name](plan.experiment.search_space(), plan.settings)
    except ImportError as error:
        raise UserError(f"--sampler {name}: {error}") from None


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
