"""A module with several adapters against peft's own, one for each: values, gradients, types."""

from __future__ import annotations

from contextlib import nullcontext

from peft import LoraConfig
from peft.tuners import lora
import pytest
import torch
from torch import nn
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from objectives import products
from objectives.packed_layers import Draws
from objectives.packed_layers import Layout
from objectives.packed_layers import PackedLinear
from objectives.packed_layers import Pair
from objectives.packed_layers import Part


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
    products.speed_up(model)
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


@pytest.mark.parametrize("rows", [[2], [1, 3], [3, 1, 2], [2, 2, 2]], ids=str)
@pytest.mark.parametrize("kind", ["linear", "doubled", "conv", "4bit"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("worth_it", [1, 2**20], ids=["oneDNN", "MKL"])
def test_each_adapters_rows_are_pefts(
    rows: list[int], kind: str, precision: str, worth_it: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_WORTH_IT", worth_it)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    base = base_of(kind, dtype)
    alone = [pefts(base, which) for which in range(len(rows))]
    layout = Layout()
    pairs = {n: Pair(pefts(base, n), Draws(torch.device("cpu"))) for n in range(len(rows))}
    packed = PackedLinear(base, pairs, layout)
    layout.parts = tuple(Part(n, count, TOKENS) for n, count in enumerate(rows))
    x = torch.randn(sum(rows), TOKENS, WIDTH).to(torch.float32 if kind == "4bit" else dtype)
    x.requires_grad_()
    context = torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else nullcontext()
    with context:
        ours = packed(x)
        theirs = [module(own) for module, own in zip(alone, torch.split(x, rows), strict=True)]
    expected = torch.cat(theirs)
    weights = [w for pair in pairs.values() for w in (pair.A, pair.B)]
    of = [w for m in alone for w in (m.lora_A["default"].weight, m.lora_B["default"].weight)]
    got = torch.autograd.grad(ours.float().square().sum(), [x, *weights])
    wanted = torch.autograd.grad(expected.float().square().sum(), [x, *of])
    for mine, its in zip([ours, *got], [expected, *wanted], strict=True):
        assert mine.dtype == its.dtype
        error = (mine.float() - its.float()).norm() / its.float().norm()
        assert error < (1e-5 if dtype == torch.float32 else 0.02)
