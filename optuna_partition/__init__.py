"""Optuna samplers that search by partitioning the space."""

from optuna_partition.samplers import SOOSampler


__all__ = ["SOOSampler", "__version__"]

__version__ = "0.1.0"
