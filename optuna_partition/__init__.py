"""Optuna samplers that search by partitioning the space."""

from optuna_partition.samplers import DIRECTSampler
from optuna_partition.samplers import SOOSampler


__all__ = ["DIRECTSampler", "SOOSampler", "__version__"]

__version__ = "0.1.0"
