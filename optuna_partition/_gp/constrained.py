"""The belief where trials violate constraints or fail: a process of the value and of each.

Without constraints and failures it is the value's process and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import math

from botorch.utils.probability.utils import log_ndtr
import numpy as np
import torch
from torch import Tensor

from optuna_partition._gp.computing import computing
from optuna_partition._gp.exact import Exact
from optuna_partition._gp.process import Fitted
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Box
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Posterior
from optuna_partition._rules.belief import Theta
from optuna_partition._rules.belief import Unfitted


__all__ = ["Constrained"]

_LIKELY = math.log(0.5)
_LEAST_VARIANCE = 1e-12
_SAFE = 0.8  # probability
_DETERRENCE = 10.0


@dataclass(frozen=True)
class Constrained:
    """See `Belief`; the hyperparameters are those of all models, one after the other.

    Args:
        process: The value's.
    """

    process: GaussianProcess

    @property
    def _constraint_process(self) -> GaussianProcess:
        """The process of a constraint."""
        return replace(self.process, candidates_func=None, squash=around_zero)

    def fit(self, evidence: Evidence, theta: Theta | None) -> Posterior:
        value, *others = self._split(evidence, theta)
        if not others:
            return self.process.fit(evidence, value)
        pairs = zip(evidence.constraints, others, strict=True)
        return ConstrainedPosterior(
            self.process.fit(evidence, value),
            tuple(self._constraint_process.fit(e, t) for e, t in pairs),
        )

    def condition(self, evidence: Evidence, theta: Theta) -> Posterior:
        value, *others = self._split(evidence, theta)
        if value is None or None in others:
            raise Unfitted("there are models of other constraints now")
        fitted = self.process.condition(evidence, value)
        if not others:
            return fitted
        pairs = zip(evidence.constraints, others, strict=True)
        return ConstrainedPosterior(
            fitted, tuple(self._constraint_process.condition(e, t) for e, t in pairs if t)
        )

    def _split(self, evidence: Evidence, theta: Theta | None) -> list[Theta | None]:
        """The hyperparameters of each model; none where they are of other models than these."""
        n_models, size = 1 + len(evidence.constraints), self.process.n_parameters
        if theta is None or len(theta) != n_models * size:
            return [None] * n_models
        return [theta[i * size : (i + 1) * size] for i in range(n_models)]


@dataclass(frozen=True)
class ConstrainedPosterior:
    """See `Posterior`."""

    value: Fitted
    constraints: tuple[Fitted, ...]

    @property
    def theta(self) -> Theta:
        return sum((model.theta for model in self.constraints), self.value.theta)

    @property
    def feasibility(self) -> Feasibility:
        models = self.constraints
        return Feasibility(
            [m.exact for m in models],
            [m.zero for m in models],
            [m.evidence.is_failure for m in models],
        )

    def bounds(self, x: Array) -> tuple[Array, Array]:
        """As if what is likely to be infeasible had failed: it has the worst value there is.

        While nothing is feasible it is how unlikely that is, alone.
        """
        mean, deviation = self.value.bounds(x)
        with computing(self.value.process.device), torch.no_grad():
            likely = self.feasibility(self.value.process.tensor(x)).cpu().numpy()
        evidence = self.value.evidence
        feasible = evidence.y[evidence.feasible & evidence.measured]
        if not len(feasible):
            return -likely, np.zeros_like(deviation)
        return np.where(likely < _LIKELY, max(feasible), mean), deviation

    def promising(self, box: Box) -> Array:
        return self.value.promising(box, self.feasibility)

    def worth_repeating(self, new: Array, *, stopped_only: bool) -> Array | None:
        return self.value.worth_repeating(new, self.feasibility, stopped_only=stopped_only)


@dataclass(frozen=True)
class Feasibility:
    """The probability that all constraints are met, each independent of the others.

    It is what BoTorch's `LogConstrainedExpectedImprovement` adds to the logarithm of the expected
    improvement (Gardner et al. 2014, equation 6; Ament et al. 2023).

    Args:
        models: Of the constraints.
        bounds: What is feasible at most, in each model's units.
        failures: Which of them is "ends well". An expected improvement beyond all measure would
            pay for many deaths: where such a constraint is not `_SAFE`, a point is all but ruled
            out.
    """

    models: Sequence[Exact]
    bounds: Sequence[float]
    failures: Sequence[bool]

    def __call__(self, x: Tensor) -> Tensor:
        """Its logarithm at x (k, D): (k,)."""
        found = zip(self.models, self.bounds, self.failures, strict=True)
        return torch.stack([_log_met(*each, x) for each in found]).sum(0)


def _log_met(model: Exact, bound: float, is_failure: bool, x: Tensor) -> Tensor:
    mean, variance = model.moments(x)
    met: Tensor = log_ndtr((bound - mean) / variance.clamp_min(_LEAST_VARIANCE).sqrt())
    return met + _DETERRENCE * (met - math.log(_SAFE)).clamp_max(0) if is_failure else met


def around_zero(y: Array) -> Array:
    """A constraint's values with those far from 0 drawn in, each on its side (SCBO's bilog).

    Eriksson and Poloczek 2021, section 3: what matters is where 0 is. Their unit is the median.
    Where none is below 0, as of max(excess, 0) or of 0 and 1, what is 0 is met as well as usual
    violations are violated: the bound itself would be met by chance.
    """
    size = np.abs(y)
    known = size[np.isfinite(size) & (size > 0)]
    unit = float(np.median(known)) if len(known) else 1.0
    most = known.max() if len(known) else 1.0
    if not (y < 0).any():
        y, size = np.where(y == 0, -unit, y), np.maximum(size, np.where(y == 0, unit, 0))
    return np.copysign(np.log1p(np.minimum(size, most) / unit), y)
