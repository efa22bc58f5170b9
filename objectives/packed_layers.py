"""The linear modules of a base that carries several adapters at once; trains nothing.

    layout = Layout()
    draws = Draws(device)
    pairs = take_pairs(bench.base, draws)        of the adapter that is on the base now
    place(bench.base, {0: pairs, ...}, layout)   `bench.release` takes them off again

A batch's rows are adapter-major: first those of one adapter, then those of the next. The base's
weight is applied to all rows at once, an adapter's A and B to its own rows only, each with its own
rank: nothing is padded to the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F

from objectives.errors import UserError


__all__ = ["Draws", "Layout", "PackedLinear", "Pair", "Part", "place", "take_pairs"]

NAME = "default"  # peft's, for an adapter that got none


@dataclass(frozen=True)
class Part:
    """One adapter's rows of a batch.

    Attributes:
        adapter: Its number in the pack.
        rows: How many.
        tokens: Length of the longest; behind it there is padding only.
    """

    adapter: int
    rows: int
    tokens: int


class Layout:
    """Whose rows the next forward gets; set before each."""

    def __init__(self) -> None:
        self.parts: tuple[Part, ...] = ()


class Draws:
    """An adapter's own stream of random numbers, beginning where the device's stands now.

    Dropout draws from the device's one generator. Around each draw of this adapter the generator
    is set to where the adapter left it, so the masks are those of an adapter that trains alone.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch if device.type == "cpu" else torch.get_device_module(device)
        self._state: Tensor = self._generator.get_rng_state()

    def __call__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._generator.set_rng_state(self._state)
        y = function(x)
        self._state = self._generator.get_rng_state()
        return y


class Pair(nn.Module):
    """One adapter's A, B, dropout and scaling at one linear module, as peft made them."""

    def __init__(self, layer: LoraLayer, draws: Draws) -> None:
        super().__init__()
        self.A, self.B = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        self.scaling = float(layer.scaling[NAME])
        self.dropout = layer.lora_dropout[NAME]
        self._draws = draws

    def forward(self, x: Tensor) -> Tensor:
        """scaling A dropout(x): B times this is what the adapter adds to the module's output."""
        x = x.to(self.A.dtype)
        if self.training and isinstance(self.dropout, nn.Dropout):
            x = self._draws(self.dropout, x)
        return F.linear(x, self.A) * self.scaling


class PackedLinear(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear module with the pairs of several adapters; not all of them need one here."""

    def __init__(self, base_layer: nn.Module, pairs: Mapping[int, Pair], layout: Layout) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.pairs = nn.ModuleDict({str(adapter): pair for adapter, pair in pairs.items()})
        self._layout = layout

    def drop(self, adapter: int) -> None:
        """Forgets an adapter that has left the pack."""
        if str(adapter) in self.pairs:
            del self.pairs[str(adapter)]

    def forward(self, x: Tensor, *arguments: Any, **more: Any) -> Tensor:
        """The module's output on all rows, (rows, tokens, features), each with its adapter's."""
        parts = self._layout.parts
        sizes = [part.rows for part in parts]
        if x.dim() != 3 or x.shape[0] != sum(sizes):
            raise UserError(
                "--pack: an adapted module does not get the batch's rows as they are (an output "
                "head or an expert does not); name other targets, or leave --pack out"
            )
        result: Tensor = self.base_layer(x, *arguments, **more)
        products = self._products(parts, torch.split(x, sizes))
        return _add_products(result.flatten(0, 1), products).view(*x.shape[:2], -1)

    def _products(self, parts: Sequence[Part], xs: Sequence[Tensor]) -> list[_Product]:
        """Of the adapters that have a pair here."""
        products, start = [], 0
        for part, x in zip(parts, xs, strict=True):
            rows = slice(start, start + part.rows * x.shape[1])
            start = rows.stop
            if str(part.adapter) in self.pairs:
                pair: Any = self.pairs[str(part.adapter)]
                products.append(_Product(rows, _down(pair, x, part.tokens).flatten(0, 1), pair.B))
        return products


def _down(pair: Pair, x: Tensor, tokens: int) -> Tensor:
    """Of a pair on its rows. Their padding is left out, as dropout draws for all it gets."""
    padding = x.shape[1] - tokens
    if padding == 0:
        down: Tensor = pair(x)
        return down
    own = x[:, :tokens].contiguous()  # as it lies there when it trains alone
    return F.pad(pair(own), (0, 0, 0, padding))


@dataclass(frozen=True)
class _Product:
    """What an adapter adds to its rows.

    Attributes:
        rows: Which.
        down: scaling * A x, (rows, rank).
        b: B, (features, rank).
    """

    rows: slice
    down: Tensor
    b: Tensor


def _add_products(result: Tensor, products: Sequence[_Product]) -> Tensor:
    """Adds down B' to the rows of each, in place where the types allow it.

    Args:
        result: (rows, features), just made by a linear module: autograd does not need its values.
        products: Of rows that do not overlap.
    """
    if any(product.down.dtype != result.dtype for product in products):
        for p in products:  # half precision without autocast: the sum is rounded once, as peft's
            result[p.rows] = (result[p.rows] + F.linear(p.down, p.b)).to(result.dtype)
        return result
    downs, bs = [p.down for p in products], [p.b.to(result.dtype) for p in products]
    rows = [product.rows for product in products]
    added: Tensor = _Add.apply(result, rows, *downs, *bs)  # type: ignore[no-untyped-call]
    return added


class _Add(torch.autograd.Function):
    """result[rows] += down @ b.T for each; arguments: all rows, all downs, all bs."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, rows: Sequence[slice], *factors: Tensor) -> Tensor:
        ctx.rows = rows
        ctx.save_for_backward(*factors)
        ctx.mark_dirty(result)
        for part, down, b in zip(rows, *_halves(factors), strict=True):
            result[part].addmm_(down, b.t())
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        downs, bs = _halves(ctx.saved_tensors)
        parts = [gradient[part] for part in ctx.rows]
        of_downs = [part @ b for part, b in zip(parts, bs, strict=True)]
        of_bs = [part.t() @ down for part, down in zip(parts, downs, strict=True)]
        return gradient, None, *of_downs, *of_bs


def _halves(factors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    return factors[: len(factors) // 2], factors[len(factors) // 2 :]


def take_pairs(base: nn.Module, draws: Draws) -> dict[str, Pair]:
    """The pairs of the adapter on a base, by the module's name in the base without it.

    Raises:
        UserError: The adapter is of a kind that cannot be packed.
    """
    layers = [(n, m) for n, m in base.named_modules() if isinstance(m, BaseTunerLayer)]
    for name, layer in layers:
        _check_plain(name, layer)
    return {name: Pair(layer, draws) for name, layer in layers}


def _check_plain(name: str, layer: BaseTunerLayer) -> None:
    if getattr(layer, "lora_variant", {}):
        raise UserError(
            "--pack: a DoRA adapter cannot be packed, as its base weights are scaled for it alone;"
            " set dora = false, or leave --pack out"
        )
    if not isinstance(layer, LoraLayer) or not _is_linear(layer):
        raise UserError(
            f"--pack: {name} is not a linear module; name other targets, or leave --pack out"
        )


def _is_linear(layer: LoraLayer) -> bool:
    """peft has A of an embedding elsewhere, and that of a convolution is one."""
    return NAME in layer.lora_A and type(layer.lora_A[NAME]) is nn.Linear


def place(
    base: nn.Module, adapters: Mapping[int, Mapping[str, Pair]], layout: Layout
) -> list[PackedLinear]:
    """Puts all adapters of a pack on a base that carries none.

    Args:
        base: Changed in place.
        adapters: Number in the pack -> the adapter's pairs from `take_pairs`.
        layout: What the modules ask whose rows they get.
    """
    packed = []
    for name in dict.fromkeys(name for pairs in adapters.values() for name in pairs):
        here = {adapter: pairs[name] for adapter, pairs in adapters.items() if name in pairs}
        module = PackedLinear(base.get_submodule(name), here, layout)
        base.set_submodule(name, module)
        packed.append(module)
    return packed
