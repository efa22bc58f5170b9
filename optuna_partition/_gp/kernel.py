"""The covariance of the belief: a product over all axes and a sum over single ones; GPyTorch only.

Notation:

=============  ================================================================================
``m(r)``       Matern 5/2: (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)
``d_i``        distance on axis i: |x_i - x'_i|; on a categorical axis 0 where equal, else 1
``l_i, a_i``   lengthscales of axis i in the product and in the sum
``s_p, s_a``   weights of the product and of the sum
=============  ================================================================================

    k(x, x') = s_p m(sqrt(sum_i (d_i / l_i)^2)) + s_a / D sum_i m(d_i / a_i)

The product is what BoTorch's `SingleTaskGP` has by default. The sum lets what was learnt along one
axis hold everywhere (Duvenaud et al. 2011): a learning rate that diverges, diverges at most ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any
from typing import final

from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior
import torch
from torch import Tensor


__all__ = ["ProductAndSum", "above", "float64", "log_normal"]

_SHORTEST = 2.5e-2  # lengthscale, as BoTorch's default has it
_LEAST = 1e-4  # weight
_MODE, _SPREAD = math.log(0.7), 1.0  # of the logarithm of lengthscales, in six dimensions


class ProductAndSum(Kernel):  # type: ignore[misc]  # GPyTorch has no types
    """See the formula above; all axes in one go, because a kernel per axis is slow.

    Args:
        n_axes: D.
        categorical: Which axes have no order.
    """

    def __init__(self, n_axes: int, categorical: Sequence[int] = ()) -> None:
        super().__init__()
        unordered = torch.zeros(n_axes, dtype=torch.bool)
        unordered[list(categorical)] = True
        self.register_buffer("unordered", unordered)
        self.has_unordered = len(categorical) > 0
        # Longer in more dimensions (Hvarfner et al. 2024), and narrower than BoTorch's: a function
        # with short lengthscales explains noise as well as noise does.
        product = log_normal(_MODE + 0.5 * math.log(n_axes / 6) + _SPREAD**2, _SPREAD)
        alone = log_normal(_MODE + _SPREAD**2, _SPREAD)
        self._add("product_scales", n_axes, product, _SHORTEST, float(product.mode))
        self._add("sum_scales", n_axes, alone, _SHORTEST, float(alone.mode))
        self._add("weights", 2, log_normal(-1.0, 1.0), _LEAST, 0.5)

    def _add(
        self, name: str, size: int, prior: LogNormalPrior, least: float, start: float
    ) -> None:
        self.register_parameter(name, torch.nn.Parameter(float64(start).repeat(size)))
        self.register_constraint(name, above(least, start))
        self.register_prior(f"{name}_prior", prior, name)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        """Covariances, (..., n, m) of x1 (..., n, D) and x2 (..., m, D); (..., n) if `diag`."""
        gap = x1 - x2 if diag else x1.unsqueeze(-2) - x2.unsqueeze(-3)
        gap = gap.abs()
        if self.has_unordered:
            gap = torch.where(self.unordered, (gap != 0).to(gap), gap)
        squared_radius = gap.square() @ self.product_scales.square().reciprocal()
        radius = squared_radius.clamp_min(1e-24).sqrt()
        in_product, in_sum = self.weights
        alone = _matern(gap * self.sum_scales.reciprocal()).mean(-1)
        covariance: Tensor = in_product * _matern(radius) + in_sum * alone
        return covariance


def float64(number: float) -> Tensor:
    """In float64, whatever type a user has made torch's default: that would round it."""
    return torch.tensor(number, dtype=torch.double)


def above(least: float, start: float) -> GreaterThan:
    """A constraint on hyperparameters, and where they start."""
    constraint = GreaterThan(least, transform=None, initial_value=float64(start))
    constraint.lower_bound = float64(least)  # GPyTorch rounds what it is given
    return constraint


def log_normal(location: float, scale: float) -> LogNormalPrior:
    return _LogNormal(location, scale)


@final
class _LogNormal(LogNormalPrior):  # type: ignore[misc]
    """GPyTorch's, without its chain of distributions, where a fit spent most of its time."""

    def __init__(self, location: float, scale: float) -> None:
        super().__init__(float64(location), float64(scale))
        self._of_logarithm = location, scale

    def log_prob(self, value: Tensor) -> Tensor:
        location, scale = self._of_logarithm
        logarithm = value.log()
        density: Tensor = -0.5 * ((logarithm - location) / scale) ** 2 - logarithm
        return density - math.log(scale * math.sqrt(2 * math.pi))


def _matern(radius: Tensor) -> Tensor:
    matern: Tensor = _Matern.apply(math.sqrt(5) * radius)  # type: ignore[no-untyped-call]
    return matern


class _Matern(torch.autograd.Function):
    """(1 + r + r^2 / 3) exp(-r), and its derivative -r (1 + r) exp(-r) / 3.

    Fits and ascents spend most of their time here; step by step it takes twice as long.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor) -> Tensor:
        decay = torch.exp(-r)
        ctx.save_for_backward(r, decay)
        return torch.addcmul(1 + r, r, r, value=1 / 3).mul_(decay)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        r, decay = ctx.saved_tensors
        return torch.addcmul(r, r, r).mul_(decay).mul_(grads[0]).mul_(-1 / 3)
