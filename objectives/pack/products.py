"""What several adapters add to the output of one linear module; knows no module and no pack.

    one by one    y += scaling (x a') b'    for the rows of each adapter, with its own rank
    together      Y += scaling (X A') B     for all rows, as batched products; X (adapters, rows,
                                            features), A and B (adapters, largest rank, ...)

The same to float rounding. Together is as few operations as one adapter alone makes, which is what
counts where a batch is small: a GPU takes longer to begin a product of few rows than to do it. It
needs as many rows of every adapter, and multiplies the zeros that smaller ranks are filled with.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


__all__ = ["Addend", "Factors", "Stack", "add"]


@dataclass(frozen=True)
class Factors:
    """An adapter's part of a module: scaling b a.

    Attributes:
        a: (rank, features).
        b: (features of the output, rank).
        scaling: peft's, from alpha and the rank.
    """

    a: Tensor
    b: Tensor
    scaling: float


@dataclass(frozen=True)
class Addend:
    """What an adapter adds to its rows.

    Attributes:
        rows: Which.
        x: After dropout, (rows, features).
        factors: Its own.
        place: In the stack.
    """

    rows: slice
    x: Tensor
    factors: Factors
    place: int


class Stack:
    """The factors of all adapters of a module in two tensors, filled with zeros.

    Attributes:
        a: (adapters, largest rank, features).
        b: (adapters, largest rank, features of the output).
        scalings: (adapters, 1, 1).
    """

    def __init__(self, all_factors: Sequence[Factors]) -> None:
        """Moves their values: from here on each `a` and `b` is a view of its place here."""
        n, rank = len(all_factors), max(len(factors.a) for factors in all_factors)
        first = all_factors[0]
        self.a = first.a.new_zeros(n, rank, first.a.shape[1])
        self.b = first.b.new_zeros(n, rank, first.b.shape[0])
        scalings = [factors.scaling for factors in all_factors]
        self.scalings = torch.tensor(scalings, device=self.a.device)[:, None, None]
        for place, factors in enumerate(all_factors):
            _move(factors.a, self.a[place, : len(factors.a)])
            _move(factors.b, self.b[place, : len(factors.a)].t())

    def of(self, places: Sequence[int], rank: int) -> tuple[Tensor, Tensor, Tensor]:
        """`a`, `b` and `scalings` of some adapters, whose largest rank is `rank`."""
        tensors = self.a[:, :rank], self.b[:, :rank], self.scalings
        if list(places) == list(range(len(self.a))):
            return tensors
        a, b, scalings = (torch.stack([each[place] for place in places]) for each in tensors)
        return a, b, scalings


def _move(parameter: Tensor, to: Tensor) -> None:
    to.copy_(parameter.detach())
    parameter.data = to


def add(result: Tensor, addends: Sequence[Addend], stack: Stack, whole: Tensor | None) -> Tensor:
    """Adds to the rows of each, in place where the types allow it.

    Args:
        result: (rows, features), just made by a linear module: autograd does not need its values.
        addends: In the order of their rows, which do not overlap.
        stack: With the factors of all.
        whole: The x of all addends as one tensor, where there is one.
    """
    dtype = result.dtype
    if torch.is_autocast_enabled(result.device.type):
        # a 4-bit base makes it in half precision, and hands it back in the type of its input
        result = result.to(torch.get_autocast_dtype(result.device.type))
    elif any(each.x.dtype != dtype for each in addends):
        return _rounded_once(result, addends)
    if _is_for_batches(addends, len(result)):
        x = torch.cat([each.x for each in addends]) if whole is None else whole
        return _together(result, x, addends, stack).to(dtype)
    return _one_by_one(result, addends).to(dtype)


def _is_for_batches(addends: Sequence[Addend], rows: int) -> bool:
    """Whether all have as many rows, nobody else any, and the zeros cost less than they save."""
    counts = {len(each.x) for each in addends}
    if len(addends) == 1 or len(counts) != 1 or len(addends) * counts.pop() != rows:
        return False
    ranks = [len(each.factors.a) for each in addends]
    zeros = len(ranks) * max(ranks) - sum(ranks)
    widths = sum(addends[0].factors.a.shape[1:] + addends[0].factors.b.shape[:1])
    return zeros * widths * (rows // len(ranks)) <= len(ranks) * _saved(addends[0].x.device)


def _saved(device: torch.device) -> int:
    """Multiplications in the time that the operations of one adapter take to begin."""
    return 2**17 if device.type == "cpu" else 2**30  # that of GPUs is not measured


def _rounded_once(result: Tensor, addends: Sequence[Addend]) -> Tensor:
    """Half precision without autocast, where peft rounds the sum."""
    for each in addends:
        factors = each.factors
        more = F.linear(F.linear(each.x, factors.a) * factors.scaling, factors.b)
        result[each.rows] = (result[each.rows] + more).to(result.dtype)
    return result


def _one_by_one(result: Tensor, addends: Sequence[Addend]) -> Tensor:
    rows, scalings = [each.rows for each in addends], [each.factors.scaling for each in addends]
    factors = [each.factors for each in addends]
    kinds = [[each.x for each in addends], [f.a for f in factors], [f.b for f in factors]]
    tensors = [tensor.to(result.dtype) for kind in kinds for tensor in kind]
    added: Tensor = _OneByOne.apply(result, rows, scalings, *tensors)  # type: ignore[no-untyped-call]
    return added


class _OneByOne(torch.autograd.Function):
    """result[rows] += scaling (x a') b' for each; arguments: all rows, scalings, xs, as, bs.

    One function for all adapters: on small batches the many that autograd would make of it take
    longer than the base.
    """

    @staticmethod
    def forward(
        ctx: Any,
        result: Tensor,
        rows: Sequence[slice],
        scalings: Sequence[float],
        *factors: Tensor,
    ) -> Tensor:
        ctx.rows, ctx.scalings = rows, scalings
        downs = []
        for part, scaling, x, a, b in zip(rows, scalings, *_kinds(factors, 3), strict=True):
            downs.append(F.linear(x, a).mul_(scaling))
            result[part].addmm_(downs[-1], b.t())
        ctx.save_for_backward(*factors, *downs)
        ctx.mark_dirty(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        of_xs, of_as, of_bs = [], [], []
        each = zip(ctx.rows, ctx.scalings, *_kinds(ctx.saved_tensors, 4), strict=True)
        for i, (rows, scaling, x, a, b, down) in enumerate(each, start=3):
            part = gradient[rows]
            of_down = (part @ b).mul_(scaling)
            of_xs.append(of_down @ a if ctx.needs_input_grad[i] else None)
            of_as.append(of_down.t() @ x)
            of_bs.append(part.t() @ down)
        return gradient, None, None, *of_xs, *of_as, *of_bs


def _kinds(tensors: Sequence[Tensor], n: int) -> Iterator[Sequence[Tensor]]:
    """`n` equal parts: all tensors of one kind, then all of the next."""
    return (tensors[i * len(tensors) // n : (i + 1) * len(tensors) // n] for i in range(n))


def _together(result: Tensor, x: Tensor, addends: Sequence[Addend], stack: Stack) -> Tensor:
    factors = [each.factors for each in addends]
    rank = max(len(f.a) for f in factors)
    a, b, scalings = stack.of([each.place for each in addends], rank)
    tensors = [tensor.to(result.dtype) for tensor in (x, a, b)]
    learning = [f.a for f in factors] + [f.b for f in factors]
    added: Tensor = _Together.apply(result, *tensors, scalings, *learning)  # type: ignore[no-untyped-call]
    return added


class _Together(torch.autograd.Function):
    """result += scalings (x a') b in batches.

    Arguments: x (all rows, features), a, b and scalings from a stack, and the views that learn,
    all as, all bs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        result: Tensor,
        x: Tensor,
        a: Tensor,
        b: Tensor,
        scalings: Tensor,
        *factors: Tensor,
    ) -> Tensor:
        x = x.view(len(a), -1, x.shape[-1])
        down = torch.bmm(x, a.transpose(1, 2)).mul_(scalings)
        result.view(*x.shape[:2], -1).baddbmm_(down, b)
        ctx.save_for_backward(x, a, b, scalings, down)
        ctx.factors = [(len(factor), factor.dtype) for factor in factors[: len(a)]]
        ctx.mark_dirty(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, a, b, scalings, down = ctx.saved_tensors
        rows = gradient.contiguous().view(*x.shape[:2], -1)
        of_down = torch.bmm(rows, b.transpose(1, 2)).mul_(scalings)
        of_x = torch.bmm(of_down, a).view(-1, x.shape[-1]) if ctx.needs_input_grad[1] else None
        dtype = ctx.factors[0][1]
        of_a = torch.bmm(of_down.transpose(1, 2), x).to(dtype)
        of_b = torch.bmm(down.transpose(1, 2), rows).to(dtype)
        of_as = [of_a[i, :rank] for i, (rank, _) in enumerate(ctx.factors)]
        of_bs = [of_b[i, :rank].t() for i, (rank, _) in enumerate(ctx.factors)]
        return gradient, of_x, None, None, None, *of_as, *of_bs
