"""Hyperparameters of a model: the likeliest, given what was observed; torch inside."""

from __future__ import annotations

from dataclasses import dataclass
import math

from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.cholesky import psd_safe_cholesky
from linear_operator.utils.errors import NanError
from linear_operator.utils.errors import NotPSDError
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds
from scipy.optimize import minimize
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.nn.utils import vector_to_parameters

from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Theta


__all__ = ["climb", "climb_as_published", "cost", "load", "theta_of"]


def climb(model: SingleTaskGP, steps: int) -> None:
    """Maximises the posterior of the hyperparameters from where they are.

    Those that must be positive are climbed in their logarithms, because a noise of 1e-6 stands
    beside lengthscales of 1. As they are, 150 steps end far from the top, and where they end hangs
    on how a sum is rounded. The density stays that of the hyperparameters, and so does its top.

    Args:
        model: With what was observed.
        steps: At most.
    """
    model.train()
    named = list(model.named_parameters_and_constraints())
    parameters = [parameter for _, parameter, _ in named]
    scale = _Scale.of(named)

    def cost_and_slope(at: Array) -> tuple[float, Array]:
        _set(parameters, scale.values(at))
        try:
            found = cost(model)
        except (NanError, NotPSDError):  # L-BFGS ends there, at the best it has seen
            return math.nan, np.full_like(at, math.nan)
        slopes = torch.autograd.grad(found, parameters, materialize_grads=True)
        slope: Array = parameters_to_vector(slopes).cpu().numpy()
        return float(found.detach()), slope * scale.stretch(at)

    start = scale.coordinates(parameters_to_vector(parameters).detach().cpu().numpy())
    options = {"maxiter": steps}
    found = minimize(
        cost_and_slope, start, jac=True, method="L-BFGS-B", bounds=scale.bounds(), options=options
    )
    _set(parameters, scale.values(found.x))


def climb_as_published(model: SingleTaskGP, steps: int) -> None:
    """The same as BoTorch does it, for its own models."""
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    likelihood.train()
    fit_gpytorch_mll_scipy(likelihood, options={"maxiter": steps})


def theta_of(model: SingleTaskGP) -> Theta:
    """The hyperparameters, short enough to be kept."""
    return tuple(float(f"{x:.8g}") for x in parameters_to_vector(model.parameters()).tolist())


def load(model: SingleTaskGP, theta: Theta) -> None:
    """Gives a model its hyperparameters."""
    _set(list(model.parameters()), np.array(theta))


def _set(parameters: list[Tensor], values: Array) -> None:
    first = parameters[0]
    vector_to_parameters(
        torch.as_tensor(values, dtype=first.dtype, device=first.device), parameters
    )


@dataclass(frozen=True)
class _Scale:
    """Hyperparameters as L-BFGS sees them: the logarithms of those that must be positive.

    Args:
        low: Their least values, (p,).
        high: Their greatest, (p,).
        positive: Which must be positive, (p,).
    """

    low: Array
    high: Array
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, named: list[tuple[str, Tensor, object]]) -> _Scale:
        ends = [_ends(parameter, constraint) for _, parameter, constraint in named]
        low, high = (np.concatenate(each) for each in zip(*ends, strict=True))
        return cls(low, high, low > 0)

    def coordinates(self, values: Array) -> Array:
        inside = np.where(self.positive, values.clip(self.low, self.high), 1.0)
        return np.where(self.positive, np.log(inside), values)

    def values(self, at: Array) -> Array:
        return np.where(self.positive, self.stretch(at), at)

    def stretch(self, at: Array) -> Array:
        """What a step in the coordinates is in values."""
        stretch: Array = np.exp(np.where(self.positive, at, 0.0))
        return stretch

    def bounds(self) -> Bounds:
        return Bounds(self.coordinates(self.low), self.coordinates(self.high))


def _ends(parameter: Tensor, constraint: object) -> tuple[Array, Array]:
    low = float(getattr(constraint, "lower_bound", -math.inf))
    high = float(getattr(constraint, "upper_bound", math.inf))
    return np.full(parameter.numel(), low), np.full(parameter.numel(), high)


def cost(model: SingleTaskGP) -> Tensor:
    """What GPyTorch's `ExactMarginalLogLikelihood` says, as a cost.

    That decides at each call what to cache, which costs as much as the algebra.
    """
    x = model.transform_inputs(model.train_inputs[0])
    noise = model.likelihood.noise * torch.eye(len(x), dtype=x.dtype, device=x.device)
    root = psd_safe_cholesky(model.covar_module.forward(x, x) + noise)
    residuals = (model.train_targets - model.mean_module(x)).unsqueeze(-1)
    explained = torch.linalg.solve_triangular(root, residuals, upper=False)
    posterior = -0.5 * explained.square().sum() - root.diagonal().log().sum()
    for _, module, prior, value, _ in model.named_priors():
        posterior = posterior + prior.log_prob(value(module)).sum()
    per_value: Tensor = -posterior / len(x) + 0.5 * math.log(2 * math.pi)
    return per_value
