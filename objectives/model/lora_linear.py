"""A linear module with LoRA, as peft's with fewer passes over the output; trains nothing.

    peft     y = W x;  y = y + scaling * (B A dropout(x))     three passes over what is y's size
    here     y = W x;  y += B (scaling * A dropout(x))        the product is added as it is made

The same to float rounding.
"""

from __future__ import annotations

from typing import Any

from peft.tuners import lora
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F


__all__ = ["LoraLinear", "adapted", "is_dropping"]


class LoraLinear(lora.Linear):  # type: ignore[misc]
    """peft's module in all but `forward`, and in that wherever it is more than one plain adapter.

    `LoraConfig._register_custom_module` puts it in peft's place, for `nn.Linear`.
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
    return _plus_product(base(x), F.linear(dropped, a) * scaling, b)


def _plus_product(result: Tensor, down: Tensor, b: Tensor) -> Tensor:
    """result + down b', in place where the types allow it: autograd needs no module's output."""
    if down.dtype != result.dtype:  # half precision without autocast
        return (result + F.linear(down, b)).to(result.dtype)
    return result.addmm_(down, b.to(result.dtype).t())  # under autocast B is still float32
