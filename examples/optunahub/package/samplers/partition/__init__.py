"""The samplers of the wheel optuna-partition, which README.md installs."""

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


__all__ = ["DIRECTSampler", "SOOSampler"]
