"""What earlier studies say, as a prior of the belief; torch inside.

Notation:

==========  =====================================================================================
``S``       how many earlier studies there are
``g_s(x)``  what a model of study s expects at x, with mean 0 and deviation 1 over the points that
            this study has evaluated
``r_s``     how far this study agrees with study s: N(AGREEMENT, S u_s^2), independent
``u_s``     how much that is in doubt: less of a prior than of an earlier study, which may be one
            of something else
``d(x)``    the process that there is without them
==========  =====================================================================================

    y(x) = sum_s r_s g_s(x) / S + d(x)

y has mean 0 and deviation 1, too, so that with one study r is a correlation: Kennedy and O'Hagan
(2000), with their factor in doubt. The r_s are integrated out, to a term of the mean and one of
the covariance:

    sum_s AGREEMENT g_s(x) / S    and    sum_s u_s^2 g_s(x) g_s(x') / S

So a study that misleads is left as values come, and one that is upside down is read upside down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botorch.models.transforms.input import InputTransform
from gpytorch.kernels import Kernel
from gpytorch.means import Mean
import torch
from torch import Tensor

from optuna_partition._rules.source import Prior


__all__ = [
    "AGREEMENT",
    "Appended",
    "Expert",
    "Expectations",
    "SourceMean",
    "Surprise",
    "WithSources",
]

AGREEMENT = 0.8


@dataclass(frozen=True)
class Expert:
    """What a source expects.

    Args:
        expects: (k, D) -> (k,).
        least: Deviation, over points, below which what it expects is not scaled up to one.
        doubt: u.
    """

    expects: Callable[[Tensor], Tensor]
    least: float
    doubt: float


@dataclass(frozen=True)
class Expectations:
    """g, at any x.

    Args:
        experts: One of each source.
        offset: Their means at the points of this study, (S,).
        scale: Their deviations there, (S,).
    """

    experts: tuple[Expert, ...]
    offset: Tensor
    scale: Tensor

    @classmethod
    def of(cls, experts: tuple[Expert, ...], x: Tensor) -> Expectations:
        with torch.no_grad():
            at = torch.stack([expert.expects(x) for expert in experts], -1)
        spread = at.std(0) if len(x) > 1 else torch.ones_like(at[0])
        least = torch.tensor([expert.least for expert in experts]).to(spread)
        return cls(experts, at.mean(0), torch.maximum(spread, least))

    @property
    def doubts(self) -> Tensor:
        """The u_s, (S,)."""
        return torch.tensor([expert.doubt for expert in self.experts]).to(self.scale)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., S)."""
        flat = x.reshape(-1, x.shape[-1])
        found = torch.stack([expert.expects(flat) for expert in self.experts], -1)
        return ((found - self.offset) / self.scale).reshape(*x.shape[:-1], len(self.experts))


@dataclass(frozen=True)
class Surprise:
    """What a prior expects: the logarithm of how much less likely a place is than its centre.

    Along an axis of numbers that is Cauchy's density, so that a place far away costs little more
    than one that is not near: log(1 + (distance / spread)^2).
    """

    centre: Tensor
    spread: Tensor
    costs: tuple[tuple[int, Tensor], ...]

    @classmethod
    def of(cls, prior: Prior, device: str) -> Surprise:
        def tensor(row: tuple[float, ...]) -> Tensor:
            return torch.tensor(row, dtype=torch.double, device=device)

        costs = tuple((axis, tensor(by_choice)) for axis, by_choice in prior.costs)
        return cls(tensor(prior.centre), tensor(prior.spread), costs)

    def __call__(self, x: Tensor) -> Tensor:
        """(k, D) -> (k,)."""
        found = torch.log1p(((x - self.centre) / self.spread) ** 2).sum(-1)
        for axis, by_choice in self.costs:
            choice = (x[:, axis] * len(by_choice)).long().clamp(0, len(by_choice) - 1)
            found = found + by_choice[choice]
        return found


class Appended(InputTransform, torch.nn.Module):  # type: ignore[misc]
    """x with g(x) behind it."""

    def __init__(self, expectations: Expectations) -> None:
        super().__init__()
        self.transform_on_train = self.transform_on_eval = True
        self.transform_on_fantasize = True
        self.expectations = expectations

    def transform(self, X: Tensor) -> Tensor:
        return torch.cat([X, self.expectations(X)], -1)

    def untransform(self, X: Tensor) -> Tensor:
        return X[..., : -len(self.expectations.experts)]

    def equals(self, other: Any) -> bool:
        return other is self


class SourceMean(Mean):  # type: ignore[misc]
    """A mean with the agreement that is expected of each source."""

    def __init__(self, mean: Mean, n: int) -> None:
        super().__init__()
        self.mean, self.n = mean, n

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.mean(x[..., : -self.n]) + AGREEMENT * x[..., -self.n :].mean(-1)
        return found


class WithSources(Kernel):  # type: ignore[misc]
    """A covariance with the doubt about each source's agreement."""

    varies = True  # from place to place where nothing is known

    def __init__(self, kernel: Kernel, doubts: Tensor) -> None:
        super().__init__()
        self.kernel, self.n = kernel, len(doubts)
        self.weights = doubts / len(doubts) ** 0.5

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **more: Any) -> Tensor:
        own = self.kernel.forward(x1[..., : -self.n], x2[..., : -self.n], diag=diag, **more)
        g1, g2 = x1[..., -self.n :] * self.weights, x2[..., -self.n :] * self.weights
        shared = (g1 * g2).sum(-1) if diag else g1 @ g2.transpose(-1, -2)
        found: Tensor = own + shared
        return found
