"""A fitted model's posterior with its matrix inverted once; torch only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

from botorch.acquisition import LogExpectedImprovement
from gpytorch.settings import lazily_evaluate_kernels
from linear_operator.utils.cholesky import psd_safe_cholesky
import torch
from torch import Tensor

from optuna_partition._rules.belief import Array


__all__ = ["Exact", "Improvement"]

_MOST_GAPS = 2**24  # distances held at once, 128 MB: points times known ones times axes


@dataclass(frozen=True)
class Exact:
    """Mean and variance of a model in evaluation mode.

    GPyTorch's own `posterior` decides at each call what to cache; for a few points at a time, as
    the ascent of an acquisition has them, that costs several times the algebra.

    Args:
        model: A single-output exact Gaussian process; its kernel is stationary.
        inverse: Of the Cholesky factor of its covariance, (n, n).
        weights: The covariance's inverse times the residuals, (n,).
        prior: Variance of the function where nothing is known, (1,); None where that depends on
            the point.
    """

    model: Any
    inverse: Tensor
    weights: Tensor
    prior: Tensor | None

    @classmethod
    def of(cls, model: Any, beside: Tensor | None = None) -> Exact:
        """Inverts; the model keeps what it is fitted to.

        Args:
            model: Fitted.
            beside: Covariances of the errors that values have beside the noise of all, (n, n).
        """
        with torch.no_grad():
            x = model.train_inputs[0]
            identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
            covariance = _dense(model, x, x) + _noise(model) * identity
            if beside is not None:
                covariance = covariance + beside
            root = psd_safe_cholesky(covariance)
            inverse = torch.linalg.solve_triangular(root, identity, upper=False)
            residuals = model.train_targets - model.mean_module(x)
            varies = getattr(model.covar_module, "varies", False)
            prior = None if varies else model.covar_module(x[:1], diag=True)
            return cls(model, inverse, inverse.T @ (inverse @ residuals), prior)

    @property
    def noise(self) -> float:
        """Variance of the noise that every value has."""
        return float(_noise(self.model).detach())

    def log_likelihood(self) -> float:
        """The logarithm of the density of what was observed."""
        model = self.model
        with torch.no_grad():
            residuals = model.train_targets - model.mean_module(model.train_inputs[0])
            fit = -0.5 * residuals @ self.weights
            volume = self.inverse.diagonal().log().sum()
        return float(fit + volume) - 0.5 * len(residuals) * math.log(2 * math.pi)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the function at x (k, D): (k,) each."""
        rows = max(1, _MOST_GAPS // self.model.train_inputs[0].numel())
        means, variances = zip(*map(self._moments, torch.split(x, rows)), strict=True)
        return torch.cat(means), torch.cat(variances)

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and covariances of the function at a few x (k, D): (k,) and (k, k)."""
        x = self.model.transform_inputs(x)
        mean, rooted = self._explained(x)
        return mean, _dense(self.model, x, x) - rooted @ rooted.T

    def tensor(self, array: Array) -> Tensor:
        """An array as the model computes."""
        return torch.as_tensor(array, dtype=self.weights.dtype, device=self.weights.device)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.model.transform_inputs(x)
        mean, rooted = self._explained(x)
        prior = self.model.covar_module(x, diag=True) if self.prior is None else self.prior
        return mean, prior - rooted.square().sum(-1)

    def _explained(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean at transformed x, and what is known there, as a root of its covariance."""
        with_known = _dense(self.model, x, self.model.train_inputs[0])
        mean = self.model.mean_module(x) + with_known @ self.weights
        return mean, with_known @ self.inverse.T


def _noise(model: Any) -> Tensor:
    """Variance of the noise that every value has, (1,)."""
    likelihood = model.likelihood
    noise: Tensor = getattr(likelihood, "second_noise", likelihood.noise)
    return noise


def _dense(model: Any, x1: Tensor, x2: Tensor) -> Tensor:
    with lazily_evaluate_kernels(False):
        covariance: Tensor = model.covar_module(x1, x2).to_dense()
    return covariance


class Improvement(LogExpectedImprovement):  # type: ignore[misc]  # BoTorch has few types
    """BoTorch's logarithmic expected improvement (Ament et al. 2023) on an `Exact` posterior.

    Args:
        exact: The posterior.
        best: The value to improve on; None where nothing is feasible, so that anything would.
        feasibility: Points (k, D) -> the logarithm of how likely they meet constraints, (k,).
    """

    def __init__(
        self,
        exact: Exact,
        best: float | None,
        feasibility: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(exact.model, best_f=best or 0.0, maximize=False)
        self.best_f = exact.weights.new_tensor(best or 0.0)  # BoTorch's is of torch's default type
        self.exact = exact
        self.feasibility, self.nothing_feasible = feasibility, best is None

    def forward(self, X: Tensor) -> Tensor:
        possible = X.new_zeros(()) if self.feasibility is None else self.feasibility(X.squeeze(-2))
        worth: Tensor = possible if self.nothing_feasible else super().forward(X) + possible
        return worth

    def _mean_and_sigma(
        self, X: Tensor, compute_sigma: bool = True, min_var: float = 1e-12
    ) -> tuple[Tensor, Tensor | None]:
        mean, variance = self.exact.moments(X.squeeze(-2))
        return mean.unsqueeze(-1), variance.clamp_min(min_var).sqrt().unsqueeze(-1)
