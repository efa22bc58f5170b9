"""A module with several adapters against peft's own, one for each: values, gradients, types."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext

from peft import LoraConfig
from peft.tuners import lora
import pytest
from rounding import assert_rounded
from rounding import in_float64
from rounding import in_sizes
import torch
from torch import nn
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from objectives.pack.layers import Draws
from objectives.pack.layers import Layout
from objectives.pack.layers import PackedLinear
from objectives.pack.layers import Pair
from objectives.pack.layers import Part


TOKENS, WIDTH = 4, 6
RANKS_AND_ALPHAS = [(3, 12), (1, 1), (5, 2)]


class Doubled(nn.Linear):
    """Does more than its weight says."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class LikeFourBits(nn.Linear):
    """Its output is made in half precision and has the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def base_of(kind: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    makes = {"linear": nn.Linear, "doubled": Doubled, "conv": Conv1D, "4bit": LikeFourBits}
    model = nn.Sequential(makes[kind](WIDTH, WIDTH))  # a transpose would go unnoticed
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.to(dtype).requires_grad_(False)
    return model[0]


def pefts(base: nn.Module, which: int) -> lora.Linear:
    """peft's module with weights of its own, none of them zero; A and B as `get_peft_model`."""
    rank, alpha = RANKS_AND_ALPHAS[which]
    transposed = isinstance(base, Conv1D)
    config = LoraConfig(r=rank, lora_alpha=alpha, fan_in_fan_out=transposed)
    more = {"fan_in_fan_out": True} if transposed else {}
    module = lora.Linear(base, "default", config=config, r=rank, lora_alpha=alpha, **more)
    torch.manual_seed(which)
    for factors in (module.lora_A, module.lora_B):
        nn.init.normal_(factors["default"].weight)
        factors.float()
    return module


def outcome(
    forward: Callable[[Tensor], Tensor], x: Tensor, weights: Sequence[Tensor], sign: bool = True
) -> list[Tensor]:
    """The output, and the gradients of x and of weights of a sum of it."""
    x = x.clone().requires_grad_()
    y = forward(x)
    counts = torch.arange(y.numel(), dtype=y.dtype).view(y.shape) % 7  # no type rounds them
    counts = counts - 3 if sign else (counts - 3).abs()
    return [y, *torch.autograd.grad((y * counts).sum(), [x, *weights])]


def of_pefts(
    alone: Sequence[lora.Linear], x: Tensor, rows: Sequence[int], sign: bool = True
) -> list[Tensor]:
    def forward(x: Tensor) -> Tensor:
        return torch.cat([m(own) for m, own in zip(alone, torch.split(x, rows), strict=True)])

    weights = [w for m in alone for w in (m.lora_A["default"].weight, m.lora_B["default"].weight)]
    return outcome(forward, x, weights, sign)


@pytest.mark.parametrize("rows", [[2], [1, 3], [3, 1, 2], [2, 2, 2]], ids=str)
@pytest.mark.parametrize("kind", ["linear", "doubled", "conv", "4bit"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
def test_each_adapters_rows_are_pefts(rows: list[int], kind: str, precision: str) -> None:
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    base = base_of(kind, dtype)
    alone = [pefts(base, which) for which in range(len(rows))]
    layout = Layout()
    pairs = {n: Pair(pefts(base, n), Draws(torch.device("cpu"))) for n in range(len(rows))}
    packed = PackedLinear(base, pairs, layout)
    layout.parts = tuple(Part(n, count, TOKENS) for n, count in enumerate(rows))
    draw = torch.Generator().manual_seed(9)
    x = torch.randn(sum(rows), TOKENS, WIDTH, generator=draw)
    x = x.to(torch.float32 if kind == "4bit" else dtype)
    weights = [w for pair in pairs.values() for w in (pair.A, pair.B)]
    context: AbstractContextManager[object] = nullcontext()
    if precision == "autocast":
        context = torch.autocast("cpu", torch.bfloat16)
    with context:
        got, same = outcome(packed, x, weights), of_pefts(alone, x, rows)
    assert [mine.dtype for mine in got] == [its.dtype for its in same]
    exact = of_pefts([in_float64(m) for m in alone], x.double(), rows)
    sizes = of_pefts([in_sizes(m) for m in alone], x.double().abs(), rows, sign=False)
    assert_rounded(got, exact, sizes, *roundings(rows, precision))


def roundings(rows: Sequence[int], precision: str) -> tuple[int, torch.dtype]:
    """On a term's way at most, and to what.

    In float32 the way is through W or through A and B, then through a sum over rows, with the
    scaling, the bias and the sum of both. In half precision sums are made in float32, and rounded
    are x, A and B, the products with each and with W, the scaling, and a sum of two, or their
    gradients.
    """
    if precision == "float32":
        return WIDTH + max(RANKS_AND_ALPHAS)[0] + max(rows) * TOKENS + WIDTH + 4, torch.float32
    return 10, torch.bfloat16
