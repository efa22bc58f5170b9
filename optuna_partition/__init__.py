"""Optuna samplers that search by partitioning the space."""

from optuna_partition._known.prior import LogNormal
from optuna_partition._known.prior import Normal
from optuna_partition._latin import LatinHypercubeSampler
from optuna_partition._nomad.sampler import NOMADSampler
from optuna_partition.answer import Best
from optuna_partition.answer import best_trial
from optuna_partition.answer import ranked_trials
from optuna_partition.pruners import BoundPruner
from optuna_partition.samplers import BaMSOOSampler
from optuna_partition.samplers import DIRECTSampler
from optuna_partition.samplers import SOOSampler


__all__ = [
    "BaMSOOSampler",
    "Best",
    "BoundPruner",
    "DIRECTSampler",
    "LatinHypercubeSampler",
    "LogNormal",
    "NOMADSampler",
    "Normal",
    "SOOSampler",
    "__version__",
    "best_trial",
    "ranked_trials",
]

__version__ = "0.1.0"
