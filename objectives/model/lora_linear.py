"""A linear module with LoRA, as peft's with fewer passes over the output; trains nothing.

    peft     y = W x;  y = y + scaling * (B A dropout(x))     three passes over what is y's size
    here     y = W x;  y += B (scaling * A dropout(x))        the product is added as it is made
    or       y = (W + scaling * B A) x                        on a CPU, of many rows, no dropout

The same to float rounding.
"""

from __future__ import annotations

from typing import Any

from peft.tuners import lora
import torch
from torch import nn
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from objectives.model.products import is_for_onednn
from objectives.model.products import is_plain
from objectives.model.products import product


__all__ = ["LoraLinear", "adapted", "is_dropping"]


class LoraLinear(lora.Linear):  # type: ignore[misc]
    """peft's module in all but `forward`, and in that wherever it is more than one plain adapter.

    `LoraConfig._register_custom_module` puts it in peft's place, for `nn.Linear` and what
    `objectives.model.products.speed_up` makes of it.
    """

    def forward(self, x: Tensor, *arguments: Any, **more: Any) -> Tensor:
        """x (..., features) -> (..., features of the output)."""
        if arguments or more or not self._is_plain():
            result: Tensor = super().forward(x, *arguments, **more)
            return result
        (name,) = self.active_adapters
        rows = x.flatten(0, -2)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        dropped = self._dropped(rows, self.lora_dropout[name], a.dtype)
        result = adapted(self.base_layer, rows, dropped, a, b, self.scaling[name])
        return result.view(*x.shape[:-1], result.shape[-1])

    def _dropped(self, rows: Tensor, dropout: nn.Module, dtype: torch.dtype) -> Tensor:
        """peft's, without a cast to float32 that autocast turns back at once."""
        if torch.is_autocast_enabled(rows.device.type) and not is_dropping(dropout):
            return rows
        result: Tensor = dropout(self._cast_input_dtype(rows, dtype))
        return result

    def _is_plain(self) -> bool:
        """Whether there is one adapter, in use, and nothing to it but A and B."""
        names = self.active_adapters
        return (
            len(names) == 1
            and names[0] in self.lora_A
            and names[0] not in self.lora_variant
            and not self.lora_bias[names[0]]
            and not self.disable_adapters
            and not self.merged
        )


def is_dropping(dropout: nn.Module) -> bool:
    """Whether a module of peft's for dropout changes what it gets."""
    return dropout.training and isinstance(dropout, nn.Dropout)


def adapted(
    base: nn.Module, x: Tensor, dropped: Tensor, a: Tensor, b: Tensor, scaling: float
) -> Tensor:
    """base(x) + scaling (dropped a') b'.

    Args:
        base: The linear module, frozen; of whatever kind.
        x: (rows, features).
        dropped: x after dropout, in A's type or under autocast; x itself where nothing is dropped.
        a: (rank, features).
        b: (features of the output, rank).
        scaling: peft's, from alpha and the rank.
    """
    if is_plain(base) and is_for_onednn(x, base.weight):
        factors = (base.weight, base.bias, a, b, scaling)
        result: Tensor = _Adapted.apply(x, dropped, *factors)  # type: ignore[no-untyped-call]
        return result
    return _plus_product(base(x), F.linear(dropped, a) * scaling, b)


def _plus_product(result: Tensor, down: Tensor, b: Tensor) -> Tensor:
    """result + down b', in place where the types allow it: autograd needs no module's output."""
    if down.dtype != result.dtype:  # half precision without autocast
        return (result + F.linear(down, b)).to(result.dtype)
    return result.addmm_(down, b.to(result.dtype).t())  # under autocast B is still float32


class _Adapted(torch.autograd.Function):
    """`adapted` of float32 on a CPU.

    One function, since on small models the many that autograd would make of it take 0.1 of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor,
        w: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
    ) -> Tensor:
        ctx.scaling, ctx.nothing_dropped = scaling, dropped is x
        ctx.merged = ctx.nothing_dropped and _is_merging_cheaper(len(x), w)
        ctx.save_for_backward(dropped, w, a, b)
        if ctx.merged:
            return product(x, _merged(w, a, b, scaling), bias)
        return product(x, w, bias).addmm_(product(dropped, a).mul_(scaling), b.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        dropped, w, a, b = ctx.saved_tensors
        gradient = gradient.contiguous()  # one that is expanded has no memory of its own
        down = product(dropped, a).mul_(ctx.scaling)
        of_down = product(gradient, b.t()).mul_(ctx.scaling)
        of_a, of_b = product(of_down.t(), dropped.t()), product(down.t(), gradient.t()).t()
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = product(gradient, (_merged(w, a, b, ctx.scaling) if ctx.merged else w).t())
            if not ctx.nothing_dropped:
                of_dropped = product(of_down, a.t())
            elif not ctx.merged:
                of_x.addmm_(of_down, a)
        return of_x, of_dropped, None, None, of_a, of_b, None


def _is_merging_cheaper(rows: int, w: Tensor) -> bool:
    """Whether x (w + b a)' takes fewer multiplications than x w' + (x a') b', times the rank."""
    outputs, features = w.shape
    return outputs * features < rows * (outputs + features)


def _merged(w: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    return torch.addmm(w, b, a, alpha=scaling)
