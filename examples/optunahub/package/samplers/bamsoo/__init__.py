"""The samplers of the wheel optuna-partition, which README.md installs."""

from optuna_partition import BaMSOOSampler


__all__ = ["BaMSOOSampler"]
