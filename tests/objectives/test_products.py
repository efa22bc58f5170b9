"""Products by oneDNN against torch's own: values, gradients, and what is left to torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import profile

from objectives import products


@pytest.fixture(autouse=True)
def all_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN gets small products, too."""
    monkeypatch.setattr(products, "_WORTH_IT", 1)


def gradients(y: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    """Of a sum whose own gradient is one number, expanded, and of one that is not."""
    return torch.autograd.grad(y.sum() + y[..., 0].square().sum(), of)


@pytest.mark.parametrize("shape", [(40, 24), (5, 8, 24), (1, 24), (24,)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_gradients_are_torchs(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(56, 24, requires_grad=True)
    bias = torch.randn(56, requires_grad=True) if has_bias else None
    of = [tensor for tensor in (x, weight, bias) if tensor is not None]
    ours, theirs = products.linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for got, expected in zip(gradients(ours, *of), gradients(theirs, *of), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_a_gradient_without_memory_of_its_own_is_right() -> None:
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    products.linear(x, weight).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 4))


@pytest.mark.parametrize("factors", ["columns", "rows"])
def test_transposes_are_products_too(factors: str) -> None:
    x, weight = torch.randn(40, 24), torch.randn(56, 40)
    got = products.product(x.t(), weight if factors == "rows" else weight.t().contiguous().t())
    torch.testing.assert_close(got, x.t() @ weight.t(), rtol=1e-5, atol=1e-4)


def test_a_frozen_weight_does_not_keep_its_input() -> None:
    x, weight = torch.randn(40, 24, requires_grad=True), torch.randn(56, 24)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        products.linear(x, weight)
    assert [tuple(tensor.shape) for tensor in kept] == [(56, 24)]


def operators(module: nn.Module, x: Tensor) -> set[str]:
    with profile() as measured, torch.no_grad():
        module(x)
    return {event.key for event in measured.key_averages()}


def test_a_model_sped_up_uses_onednn() -> None:
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(24, 24), Other(24, 24))
    products.speed_up(model)
    assert "mkldnn::_linear_pointwise" in operators(model[0], torch.randn(4, 24))
    assert type(model[1]) is Other
    assert isinstance(model[0], nn.Linear)


CPUINFO = """\
processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
flags\t\t: fpu vme {flags}

processor\t: 1
"""


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "expected"),
    [
        ("AuthenticAMD", 26, "avx512f avx512dq", 2**20),  # Zen 5
        ("AuthenticAMD", 25, "avx512f avx512dq", 2**24),  # Zen 4
        ("AuthenticAMD", 25, "avx2", math.inf),  # Zen 3
        ("GenuineIntel", 6, "avx512f avx512dq", math.inf),  # MKL's own
    ],
)
def test_the_processor_decides(vendor: str, family: int, flags: str, expected: float) -> None:
    cpuinfo = CPUINFO.format(vendor=vendor, family=family, flags=flags)
    assert products._least_worth_it(cpuinfo) == expected


def test_an_unknown_processor_is_left_to_torch() -> None:
    assert products._least_worth_it("") == math.inf
    assert products._least_worth_it("processor: 0\nBogoMIPS: 50.0\n") == math.inf  # Arm


@pytest.mark.parametrize("kind", ["half", "empty", "autocast", "small"])
def test_the_rest_is_torchs_to_the_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if kind == "half" else torch.float32
    x = torch.randn(0 if kind == "empty" else 40, 24, dtype=dtype)
    weight = torch.randn(56, 24, dtype=dtype)
    if kind == "small":
        monkeypatch.setattr(products, "_WORTH_IT", 40 * 24 * 56 + 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        got, expected = products.linear(x, weight), F.linear(x, weight)
    assert got.dtype == expected.dtype
    assert torch.equal(got, expected)
