"""The samplers of the wheel optuna-partition, which README.md installs."""

from optuna_partition import NOMADSampler


__all__ = ["NOMADSampler"]
