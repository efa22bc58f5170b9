"""A linear module with LoRA against peft's own: values, gradients, types, what it hands back."""

from __future__ import annotations

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

from objectives.model.lora_linear import LoraLinear


def modules(
    dtype: torch.dtype = torch.float32, bias: bool = True, **settings: object
) -> tuple[LoraLinear, lora.Linear]:
    """Ours and peft's with the same weights, none of them zero."""
    config = LoraConfig(r=3, lora_alpha=12, **settings)
    torch.manual_seed(0)
    base = nn.Linear(6, 5, bias=bias, dtype=dtype).requires_grad_(False)
    made = [kind(base, "default", config=config, r=3) for kind in (LoraLinear, lora.Linear)]
    nn.init.normal_(made[0].lora_B["default"].weight)
    for module in made:  # as `get_peft_model` does
        module.lora_A.float()
        module.lora_B.float()
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


def outcome(
    module: nn.Module, x: Tensor, context: AbstractContextManager[object] | None = None
) -> tuple[Tensor, ...]:
    """Its output, and the gradients of x, A and B."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)  # of the dropout
    with context or nullcontext():
        y = module(x)
        (y.to(torch.promote_types(y.dtype, torch.float32)) * torch.arange(5)).sum().backward()
    return y, x.grad, module.lora_A["default"].weight.grad, module.lora_B["default"].weight.grad


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)


def roundings(x: Tensor, rank: int = 3) -> int:
    """Of float32 at most: a term's way is through W, B and A, the dropout, the scaling and the
    bias; that of a gradient is through a sum over the rows as well.
    """
    outputs, features = 5, x.shape[-1]
    return outputs + rank + features + x.numel() // features + 4


@pytest.mark.parametrize("shape", [(1, 2, 6), (2, 4, 6)], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_pefts(
    shape: tuple[int, ...], dropout: float, bias: bool
) -> None:
    ours, theirs = modules(bias=bias, lora_dropout=dropout)
    x = drawn(*shape)
    exact = outcome(in_float64(theirs), x.double())
    sizes = outcome(in_sizes(theirs), x.double().abs())
    assert_rounded(outcome(ours, x), exact, sizes, roundings(x), torch.float32)


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_pefts(autocast: bool) -> None:
    """With autocast everything is in bfloat16; without it A and B stay in float32."""
    ours, theirs = modules(torch.bfloat16)
    x = drawn(2, 4, 6, dtype=torch.bfloat16)
    context = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
    both = [outcome(module, x, context) for module in (ours, theirs)]
    assert [got.dtype for got in both[0]] == [expected.dtype for expected in both[1]]
    exact, sizes = (
        outcome(in_float64(theirs), x.double()),
        outcome(in_sizes(theirs), x.abs().double()),
    )
    # sums are made in float32: rounded to bfloat16 are A and B, the product with each of them
    # and with W, the scaling, and a sum of two of these, or their gradients
    assert_rounded(both[0], exact, sizes, 8, torch.bfloat16)


def test_what_is_not_one_plain_adapter_is_left_to_peft() -> None:
    ours, theirs = modules(use_dora=True)
    x = drawn(2, 6)
    assert torch.equal(ours(x), theirs(x))
    ours, theirs = modules()
    ours.enable_adapters(False)
    assert torch.equal(ours(x), ours.get_base_layer()(x))


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6)])
def test_no_rows_are_no_rows(shape: tuple[int, ...]) -> None:
    ours, theirs = modules()
    x = torch.empty(shape)
    assert ours(x).shape == theirs(x).shape == (*shape[:-1], 5)


def test_a_base_in_the_first_layer_needs_no_gradient() -> None:
    ours, theirs = (in_float64(module) for module in modules())
    x = drawn(3, 6).double()
    for module in (ours, theirs):
        module(x).square().sum().backward()
    for name in ("lora_A", "lora_B"):
        got, expected = (getattr(m, name)["default"].weight.grad for m in (ours, theirs))
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
