"""Optuna's distributions as axes and cells, with and without branches; reads no study."""
