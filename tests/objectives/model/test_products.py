"""Products by oneDNN against torch's own: values, gradients, and what is left to torch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import math

import pytest
from rounding import assert_rounded
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import profile

from objectives.model import products


@pytest.fixture(autouse=True)
def all_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN gets small products, too."""
    monkeypatch.setattr(products, "_WORTH_IT", 1)


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw) for shape in shapes]


def outcome(linear: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of a sum of it, whose own gradient is one number, expanded,
    and of a sum whose own is not.
    """
    learning = [tensor.clone().requires_grad_() for tensor in inputs]
    y = linear(*learning)
    whole = torch.autograd.grad(y.sum(), learning, retain_graph=True)
    return [y.detach(), *whole, *torch.autograd.grad((y * weights_of(y)).sum(), learning)]


def weights_of(y: Tensor) -> Tensor:
    """Small integers, which no type rounds."""
    return torch.arange(y.numel()).view(y.shape) % 5


@pytest.mark.parametrize("shape", [(40, 24), (5, 8, 24), (1, 24), (24,)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_gradients_are_torchs(shape: tuple[int, ...], has_bias: bool) -> None:
    """In float64, to the roundings of float32."""
    inputs = drawn(shape, (56, 24), (56,))[: 2 + has_bias]
    exact = outcome(F.linear, [tensor.double() for tensor in inputs])
    sizes = outcome(F.linear, [tensor.double().abs() for tensor in inputs])
    # the longest sums are those over the outputs, each of a product with a weight above
    assert_rounded(outcome(products.linear, inputs), exact, sizes, 56 + 1, torch.float32)


def test_a_gradient_without_memory_of_its_own_is_right() -> None:
    x, weight = torch.ones(3, 4, requires_grad=True), torch.arange(20.0).view(5, 4)
    products.linear(x, weight).sum().backward()
    assert torch.equal(x.grad, weight.sum(0).expand(3, 4))  # integers: exact in whatever order


@pytest.mark.parametrize("factors", ["columns", "rows"])
def test_transposes_are_products_too(factors: str) -> None:
    x, weight = drawn((40, 24), (56, 40))
    got = products.product(x.t(), weight if factors == "rows" else weight.t().contiguous().t())
    exact = x.double().t() @ weight.double().t()
    sizes = x.double().abs().t() @ weight.double().abs().t()
    assert_rounded([got], [exact], [sizes], 40, torch.float32)


def test_a_frozen_weight_does_not_keep_its_input() -> None:
    x, weight = drawn((40, 24), (56, 24))
    x.requires_grad_()
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
    assert "mkldnn::_linear_pointwise" in operators(model[0], torch.ones(4, 24))
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
