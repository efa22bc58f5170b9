"""How far rounding may move a sum of products: the tolerance of tests that compare in floats.

In which order a sum is made, and which of its products are rounded before they are added, is the
processor's and its library's to decide. However they decide, a result that is made of sums of
products is off by at most

    gamma(n) * sizes        gamma(n) = n u / (1 - n u)        u = eps / 2

with n the roundings on the way of any one term: m for a sum of m products, a product and m - 1
additions. `sizes` is the same result with the absolute values of all inputs, so that nothing
cancels. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 3.1 and 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
from typing import TypeVar

import torch
from torch import nn
from torch import Tensor


Module = TypeVar("Module", bound=nn.Module)


def gamma(roundings: int, dtype: torch.dtype) -> float:
    unit = torch.finfo(dtype).eps / 2
    return roundings * unit / (1 - roundings * unit)


LOSS = gamma(24, torch.float32)
"""How far a mean of some hundred losses may be off, relative to it: 1.4e-6.

torch adds in 16 lanes or more, and then these: 300 losses go through 19 additions and 4 more. What
comes before adds less: with float64 the losses of a training move by a tenth of this.
"""


def assert_rounded(
    got: Sequence[Tensor],
    exact: Sequence[Tensor],
    sizes: Sequence[Tensor],
    roundings: int,
    dtype: torch.dtype,
) -> None:
    """Results computed in a type are what float64 gives, to that many roundings.

    Args:
        got: As they come.
        exact: In float64.
        sizes: In float64, of the absolute values of all inputs.
        roundings: On the way of any one term, at most.
        dtype: The coarsest type on the way.
    """
    for ours, expected, size in zip(got, exact, sizes, strict=True):
        share = (ours.double() - expected).detach().abs() / (gamma(roundings, dtype) * size)
        share = share.where(ours != expected, 0)  # nothing of nothing
        assert (share <= 1).all(), f"{share.max():.3g} times the bound"


def in_float64(module: Module) -> Module:
    """A copy that computes exactly, as far as its float32 and bfloat16 results can tell."""
    return copy.deepcopy(module).double()


def in_sizes(module: Module) -> Module:
    """A copy in float64 with the absolute values of all weights."""
    sizes = in_float64(module)
    for parameter in sizes.parameters():
        parameter.data.abs_()
    return sizes
