"""How likely a point is to meet constraints, by a model of each; torch only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

from botorch.utils.probability.utils import log_ndtr
import torch
from torch import Tensor

from optuna_partition._gp.exact import Exact


__all__ = ["Feasibility"]

_LEAST_VARIANCE = 1e-12
_SAFE = 0.8  # probability
_DETERRENCE = 10.0


@dataclass(frozen=True)
class Feasibility:
    """The probability that all constraints are met, each independent of the others.

    It is what BoTorch's `LogConstrainedExpectedImprovement` adds to the logarithm of the expected
    improvement (Gardner et al. 2014, equation 6; Ament et al. 2023).

    Args:
        models: Of the constraints.
        bounds: What is feasible at most, in each model's units.
        grave: Of which of them an infeasible point teaches nothing else. An expected improvement
            beyond all measure would pay for many deaths: where it is not `_SAFE`, a point is all
            but ruled out.
    """

    models: Sequence[Exact]
    bounds: Sequence[float]
    grave: Sequence[bool]

    def __call__(self, x: Tensor) -> Tensor:
        """Its logarithm at x (k, D): (k,)."""
        found = zip(self.models, self.bounds, self.grave, strict=True)
        return torch.stack([_log_met(*each, x) for each in found]).sum(0)


def _log_met(model: Exact, bound: float, is_grave: bool, x: Tensor) -> Tensor:
    mean, variance = model.moments(x)
    met: Tensor = log_ndtr((bound - mean) / variance.clamp_min(_LEAST_VARIANCE).sqrt())
    return met + _DETERRENCE * (met - math.log(_SAFE)).clamp_max(0) if is_grave else met
