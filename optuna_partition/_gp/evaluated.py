"""What is believed of points that were evaluated, if anything is; imports torch."""

from __future__ import annotations

from optuna_partition._core.axes import Axis
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence


__all__ = ["moments"]

_LEAST_GAIN = 3.0
"""A function too rough for its points looks like noise, and its best value is no luck."""
_NO_NOISE = 1e-5
"""Variance, in the model's units: hardly more than the least that it can fit."""


def moments(
    axes: tuple[Axis, ...], evidence: Evidence, x: Array
) -> tuple[Array, Array, bool] | None:
    """Mean and standard deviation of the function at points, (k,) each; whether there is noise.

    None where no model can be fitted, and where it explains no more than chance would.

    Args:
        axes: Of the space.
        evidence: What was observed.
        x: The points, (k, D).
    """
    try:
        fitted = GaussianProcess(Domain.of(axes)).fit(evidence, None)
        if fitted.gain < _LEAST_GAIN:
            return None
        return *fitted.bounds(x), fitted.exact.noise > _NO_NOISE
    except BeliefFailed:
        return None
