"""Products of float32 matrices on a CPU, by oneDNN where that is faster; knows no adapter.

torch has float32 products made by MKL, which takes 256-bit instructions on processors that are not
Intel's. oneDNN, which torch brings along, takes the 512-bit ones where they are: on an AMD Zen 5
core 2.2 times as many products a second, on a Zen 4 core, which has them by halves, 1.1 times.
Everything else is torch's own, to the bit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from typing import TypeGuard

import torch
from torch import nn
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


__all__ = ["is_for_onednn", "is_plain", "linear", "product", "speed_up"]

_ZEN_5 = 26  # "cpu family"
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # (x, w, bias) -> x w' + bias


def _least_worth_it(cpuinfo: str) -> float:
    """Multiplications from which on oneDNN is faster; it takes longer to begin.

    Not measured by the process that asks: its values would be other ones at each start.

    Args:
        cpuinfo: The text of /proc/cpuinfo.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {name.strip(): fact.strip() for name, _, fact in lines}
    if facts.get("vendor_id") != "AuthenticAMD" or "avx512f" not in facts["flags"].split():
        return math.inf
    return 2**20 if int(facts["cpu family"]) >= _ZEN_5 else 2**24


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")  # of Linux
    return path.read_text() if path.exists() else ""


_WORTH_IT = _least_worth_it(_cpuinfo()) if _ONEDNN is not None else math.inf


def is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN makes x weight' faster than torch's own product."""
    return (
        x.numel() * len(weight) >= _WORTH_IT
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias outside autograd, that is, within an autograd function.

    Args:
        x: (rows, features). oneDNN copies it where its rows are columns in memory, as in a
            transpose: let that be the smaller factor.
        weight: (outputs, features), in memory either way.
        bias: (outputs,).

    Returns:
        (rows, outputs).
    """
    if not is_for_onednn(x, weight):
        return F.linear(x, weight, bias)
    result: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., features), weight (outputs, features) -> (..., outputs), as `F.linear`."""
    if not is_for_onednn(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    result: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return result.view(*x.shape[:-1], weight.shape[0])


class _Linear(torch.autograd.Function):
    """`linear` of (rows, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # a frozen weight does not keep its input in memory
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()  # one that is expanded has no memory of its own
        return (
            product(gradient, weight.t()) if of_x else None,
            product(gradient.t(), x.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a module is `linear` of its weight and bias: subclasses may do something else."""
    return type(module) in (nn.Linear, _LinearModule)


def speed_up(model: nn.Module) -> None:
    """Has the linear modules of a model make their products with `linear`.

    Args:
        model: Changed in place. Modules of other classes, `nn.Linear`'s subclasses among them, are
            left as they are.
    """
    for module in model.modules():
        if type(module) is nn.Linear and _WORTH_IT < math.inf:
            module.__class__ = _LinearModule


class _LinearModule(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
