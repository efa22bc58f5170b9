"""Which kernel, mean and transforms a model of values has; BoTorch's models, not yet fitted."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from botorch.models import MixedSingleTaskGP
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import ChainedInputTransform
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.input import Warp
from gpytorch.kernels import Kernel
from gpytorch.means import ConstantMean
from gpytorch.means import Mean
import torch
from torch import Tensor

from optuna_partition._gp.kernel import float64
from optuna_partition._gp.kernel import log_normal
from optuna_partition._gp.kernel import ProductAndSum
from optuna_partition._gp.noise import likelihood_of
from optuna_partition._gp.sources import Appended
from optuna_partition._gp.sources import Expectations
from optuna_partition._gp.sources import SourceMean
from optuna_partition._gp.sources import WithSources
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.source import Feature


__all__ = ["Coordinates", "published", "warped"]

_WARP_SPREAD = 0.5  # of the logarithm of the two exponents; 0.87 warps more and was worse


def published(domain: Domain, x: Tensor, y: Tensor) -> SingleTaskGP:
    """BoTorch's default, of x (n, D) and y (n, 1)."""
    categorical = list(domain.categorical)
    if categorical:
        return MixedSingleTaskGP(x, y, cat_dims=categorical, outcome_transform=None)
    return SingleTaskGP(x, y, outcome_transform=None)


def warped(
    domain: Domain,
    x: Tensor,
    y: Tensor,
    noise: Tensor | None,
    expectations: Expectations | None,
) -> SingleTaskGP:
    """The project's own: columns are axes, features, and what sources expect.

    Args:
        domain: The axes.
        x: In its cube, (n, D).
        y: (n, 1).
        noise: What each value has beside the noise of all, (n,).
        expectations: Of sources.
    """
    n_axes, features = x.shape[-1], domain.features
    n_sources = 0 if expectations is None else len(expectations.experts)
    mean: Mean = ConstantMean()
    kernel: Kernel = ProductAndSum(n_axes + len(features), domain.categorical)
    steps: dict[str, InputTransform] = {}
    if expectations is not None:
        mean, kernel = SourceMean(mean, n_sources), WithSources(kernel, expectations.doubts)
        steps["append"] = Appended(expectations)
    if features:
        steps["coordinates"] = Coordinates(features, n_axes)
    if (warp := _warp(domain, len(features) + n_sources)) is not None:
        steps["warp"] = warp
    return SingleTaskGP(
        x,
        y,
        likelihood=likelihood_of(noise),
        mean_module=mean,
        covar_module=kernel,
        outcome_transform=None,
        input_transform=warp if steps.keys() <= {"warp"} else ChainedInputTransform(**steps),
    )


def _warp(domain: Domain, n_more: int) -> Warp | None:
    n_axes = len(domain.steps) + n_more
    ordered = [i for i in range(len(domain.steps)) if i not in domain.categorical]
    if not ordered:
        return None
    warp = Warp(
        d=n_axes,
        indices=ordered,
        concentration1_prior=log_normal(0.0, _WARP_SPREAD),
        concentration0_prior=log_normal(0.0, _WARP_SPREAD),
        bounds=torch.tensor([[0.0] * n_axes, [1.0] * n_axes], dtype=torch.double),
    )
    for constraint in (warp.concentration0_constraint, warp.concentration1_constraint):
        constraint.lower_bound = float64(Warp._min_concentration_level)
    return warp


class Coordinates(InputTransform, torch.nn.Module):  # type: ignore[misc]
    """x with its features behind the axes, before whatever stands behind these.

    Some responses have a ridge along which parameters make up for each other, as LoRA's learning
    rate does for alpha / rank. No axis alone tells how far a point is from it, and one such column
    does. The covariance has a lengthscale for it as for an axis, and learns whether it matters.

    Args:
        features: At least one.
        n_axes: D.
    """

    def __init__(self, features: Sequence[Feature], n_axes: int) -> None:
        super().__init__()
        self.transform_on_train = self.transform_on_eval = True
        self.transform_on_fantasize = True
        self.features, self.n_axes = tuple(features), n_axes

    def transform(self, X: Tensor) -> Tensor:
        found = torch.stack([_of(feature, X) for feature in self.features], -1)
        return torch.cat([X[..., : self.n_axes], found, X[..., self.n_axes :]], -1)

    def untransform(self, X: Tensor) -> Tensor:
        behind = X[..., self.n_axes + len(self.features) :]
        return torch.cat([X[..., : self.n_axes], behind], -1)

    def equals(self, other: Any) -> bool:
        return isinstance(other, Coordinates) and other.features == self.features


def _of(feature: Feature, x: Tensor) -> Tensor:
    """The column, (...,) of x (..., D)."""
    total = torch.zeros_like(x[..., 0])
    for axis, power, low, high, is_log in feature.terms:
        at = x[..., axis]
        if is_log:
            total = total + power * (math.log(low) + at * math.log(high / low))
        else:
            total = total + power * (low + at * (high - low)).log()
    least, most = feature.range
    column: Tensor = (total - least) / (most - least)
    return column
