"""How likely a point is to meet constraints, by a model of each; torch only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from botorch.utils.probability.utils import log_ndtr
import torch
from torch import Tensor

from optuna_partition._gp.exact import Exact


__all__ = ["Feasibility"]

_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Feasibility:
    """The probability that all constraints are met, each independent of the others.

    It is what BoTorch's `LogConstrainedExpectedImprovement` adds to the logarithm of the expected
    improvement (Gardner et al. 2014, equation 6; Ament et al. 2023).

    Args:
        models: Of the constraints.
        bounds: What is feasible at most, in each model's units.
    """

    models: Sequence[Exact]
    bounds: Sequence[float]

    def __call__(self, x: Tensor) -> Tensor:
        """Its logarithm at x (k, D): (k,)."""
        found = zip(self.models, self.bounds, strict=True)
        return torch.stack([_log_below(model, bound, x) for model, bound in found]).sum(0)


def _log_below(model: Exact, bound: float, x: Tensor) -> Tensor:
    mean, variance = model.moments(x)
    below: Tensor = log_ndtr((bound - mean) / variance.clamp_min(_LEAST_VARIANCE).sqrt())
    return below
