"""All adapters' products in batches against one after the other: values, gradients, operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from objectives.pack import products as packed_products
from objectives.pack.products import add
from objectives.pack.products import Addend
from objectives.pack.products import Factors
from objectives.pack.products import Stack


FEATURES, OUTPUTS, ROWS = 6, 5, 3
VIEWS = {"view", "t", "transpose", "slice", "select", "detach", "_unsafe_view", "unsqueeze"}

Gradients = list[Tensor]


def factors(ranks: Sequence[int], dtype: torch.dtype = torch.float32) -> list[Factors]:
    draw = torch.Generator().manual_seed(0)
    return [
        Factors(
            nn.Parameter(torch.randn(rank, FEATURES, dtype=dtype, generator=draw)),
            nn.Parameter(torch.randn(OUTPUTS, rank, dtype=dtype, generator=draw)),
            1 / rank,
        )
        for rank in ranks
    ]


def inputs(adapters: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """A base's output, and x."""
    draw, rows = torch.Generator().manual_seed(1), adapters * ROWS
    base = torch.randn(rows, OUTPUTS, dtype=dtype, generator=draw)
    return base, torch.randn(rows, FEATURES, dtype=dtype, generator=draw)


def outcome(
    each: Sequence[Factors], places: Sequence[int], base: Tensor, x: Tensor
) -> tuple[Tensor, Gradients]:
    """The rows of the adapters at some places, and the gradients of x and of their factors."""
    stack, x = Stack(each), x.clone().requires_grad_()
    addends = [
        Addend(slice(i * ROWS, (i + 1) * ROWS), part, each[place], place)
        for i, (place, part) in enumerate(zip(places, x.split(ROWS), strict=True))
    ]
    y = add(base.clone(), addends, stack, x)
    learning = [f for place in places for f in (each[place].a, each[place].b)]
    return y, list(torch.autograd.grad((y * torch.arange(OUTPUTS)).square().sum(), [x, *learning]))


@pytest.mark.parametrize("places", [[0, 1, 2], [2, 0], [1, 2]], ids=str)
def test_together_is_one_by_one(places: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, where the order of a sum is the 15th digit's, and a mistake is the first's."""
    base, x = inputs(len(places), torch.float64)
    names = []

    def found(saved: int) -> list[Tensor]:
        monkeypatch.setattr(packed_products, "_saved", lambda device: saved)
        y, gradients = outcome(factors([2, 1, 4], torch.float64), places, base, x)
        names.append(y.grad_fn.name())
        return [y, *gradients]

    for got, expected in zip(found(10**9), found(-1), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert names == ["_TogetherBackward", "_OneByOneBackward"]


def test_one_that_diverges_spoils_no_other() -> None:
    base, x = inputs(3)
    clean = outcome(factors([2, 1, 4]), [0, 1, 2], base, x)
    with torch.no_grad():
        (spoilt := factors([2, 1, 4]))[1].b.fill_(math.nan)
        base[ROWS : 2 * ROWS], x[ROWS : 2 * ROWS] = math.inf, math.nan
    y, gradients = outcome(spoilt, [0, 1, 2], base, x)
    assert y[ROWS : 2 * ROWS].isnan().all()
    for own in (slice(ROWS), slice(2 * ROWS, None)):
        assert torch.equal(y[own], clean[0][own])
        assert torch.equal(gradients[0][own], clean[1][0][own])
    for i in (1, 2, 5, 6):  # factors of the first and of the last
        assert torch.equal(gradients[i], clean[1][i])


def test_a_stack_holds_the_factors_themselves() -> None:
    each = factors([2, 4])
    before = [f.detach().clone() for pair in each for f in (pair.a, pair.b)]
    stack = Stack(each)
    for now, then in zip([f for pair in each for f in (pair.a, pair.b)], before, strict=True):
        assert torch.equal(now, then)
    optimizer = torch.optim.AdamW([f for pair in each for f in (pair.a, pair.b)], fused=True)
    addends = [Addend(slice(i, i + 1), torch.ones(1, FEATURES), each[i], i) for i in range(2)]
    add(torch.zeros(2, OUTPUTS), addends, stack, None).sum().backward()
    optimizer.step()
    assert torch.equal(stack.a[0, :2], each[0].a) and torch.equal(stack.b[1].t(), each[1].b)
    assert not torch.equal(each[0].a, before[0])
    assert not stack.a[0, 2:].any() and not stack.b[0, 2:].any(), "what fills a rank up learns"


class Operations(TorchDispatchMode):
    """Counts what a device would have to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), more: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.counts[name] += name not in VIEWS
        return function(*arguments, **(more or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_eight_adapters_take_as_many_operations_as_two(dtype: torch.dtype) -> None:
    def count(n: int) -> int:
        each = factors([4] * n)
        stack, x = Stack(each), torch.randn(n * ROWS, FEATURES, dtype=dtype, requires_grad=True)
        addends = [
            Addend(slice(i * ROWS, (i + 1) * ROWS), part, each[i], i)
            for i, part in enumerate(x.split(ROWS))
        ]
        base = torch.zeros(n * ROWS, OUTPUTS, dtype=dtype)
        half = dtype == torch.bfloat16
        with Operations() as counted, torch.autocast("cpu", torch.bfloat16, enabled=half):
            add(base, addends, stack, x).backward(torch.ones_like(base))
        return counted.counts.total()

    assert count(8) == count(2) < 20


@pytest.mark.parametrize(
    ("ranks", "rows", "together"),
    [
        ([8, 8, 8], [1, 1, 1], True),
        ([8, 4, 1], [1, 1, 1], True),
        ([8, 4, 1], [1, 2, 1], False),  # there is no batch of unlike rows
        ([512, 1, 1], [4096] * 3, False),  # zeros upon zeros
    ],
)
def test_where_batches_pay(ranks: list[int], rows: list[int], together: bool) -> None:
    each, x = factors(ranks), torch.zeros(sum(rows), FEATURES)
    parts = x.split(rows)
    ends = torch.tensor(rows).cumsum(0).tolist()
    addends = [
        Addend(slice(end - len(part), end), part, each[i], i)
        for i, (end, part) in enumerate(zip(ends, parts, strict=True))
    ]
    y = add(torch.zeros(len(x), OUTPUTS), addends, Stack(each), x)
    assert (y.grad_fn.name() == "_TogetherBackward") == together
