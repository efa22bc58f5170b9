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
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
import torch
from torch import nn
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from objectives.errors import UserError
from objectives.lora_linear import adapted
from objectives.products import product


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

    def dropped(self, x: Tensor, tokens: int) -> Tensor:
        """dropout(x) in A's type; x itself where nothing is dropped.

        Args:
            x: (rows, tokens, features).
            tokens: Of them, those that are not padding; dropout draws for all it gets.
        """
        x = x.to(self.A.dtype)
        if not (self.training and isinstance(self.dropout, nn.Dropout)):
            return x
        own = x[:, :tokens].contiguous()  # as it lies there when the adapter trains alone
        return F.pad(self._draws(self.dropout, own), (0, 0, 0, x.shape[1] - tokens))


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

    def forward(self, x: Tensor) -> Tensor:
        """The module's output on all rows, (rows, tokens, features), each with its adapter's."""
        parts = self._layout.parts
        sizes = [part.rows for part in parts]
        if x.dim() != 3 or x.shape[0] != sum(sizes):
            raise UserError(
                "--pack: an adapted module does not get the batch's rows as they are (an output "
                "head or an expert does not); name other targets, or leave --pack out"
            )
        if len(parts) == 1 and str(parts[0].adapter) in self.pairs:
            return self._of_one(parts[0], x)
        # not flattened afterwards: to change a view, autograd copies what it is a view of
        result: Tensor = self.base_layer(x.flatten(0, 1))
        return _add(result, self._addends(x)).view(*x.shape[:2], -1)

    def _of_one(self, part: Part, x: Tensor) -> Tensor:
        """Where the batch has no other adapter's rows."""
        pair: Any = self.pairs[str(part.adapter)]
        rows, dropped = x.flatten(0, 1), pair.dropped(x, part.tokens)
        # a view of x would be another tensor than x's rows, and not show that nothing is dropped
        dropped = rows if dropped is x else dropped.flatten(0, 1)
        result = adapted(self.base_layer, rows, dropped, pair.A, pair.B, pair.scaling)
        return result.view(*x.shape[:2], -1)

    def _addends(self, x: Tensor) -> list[_Addend]:
        """Of the adapters that have a pair here."""
        addends, start = [], 0
        sizes = [part.rows for part in self._layout.parts]
        for part, own in zip(self._layout.parts, torch.split(x, sizes), strict=True):
            rows = slice(start, start + part.rows * x.shape[1])
            start = rows.stop
            if str(part.adapter) in self.pairs:
                pair: Any = self.pairs[str(part.adapter)]
                dropped = pair.dropped(own, part.tokens).flatten(0, 1)
                addends.append(_Addend(rows, dropped, pair.A, pair.B, pair.scaling))
        return addends


@dataclass(frozen=True)
class _Addend:
    """What an adapter adds to its rows: scaling (x a') b'.

    Attributes:
        rows: Which.
        x: After dropout, (rows, features).
        a: (rank, features).
        b: (features of the output, rank).
        scaling: See `objectives.lora_linear.adapted`.
    """

    rows: slice
    x: Tensor
    a: Tensor
    b: Tensor
    scaling: float


def _add(result: Tensor, addends: Sequence[_Addend]) -> Tensor:
    """Adds to the rows of each, in place where the types allow it.

    Args:
        result: (rows, features), just made by a linear module: autograd does not need its values.
        addends: Of rows that do not overlap.
    """
    dtype = result.dtype
    if torch.is_autocast_enabled(result.device.type):
        # a 4-bit base makes it in half precision, and hands it back in the type of its input
        result = result.to(torch.get_autocast_dtype(result.device.type))
    elif any(each.x.dtype != result.dtype for each in addends):
        for each in addends:  # the sum is rounded once, as peft's
            more = F.linear(F.linear(each.x, each.a) * each.scaling, each.b)
            result[each.rows] = (result[each.rows] + more).to(result.dtype)
        return result
    rows, scalings = [each.rows for each in addends], [each.scaling for each in addends]
    factors = [[each.x for each in addends], [e.a for e in addends], [e.b for e in addends]]
    tensors = [tensor.to(result.dtype) for kind in factors for tensor in kind]
    added: Tensor = _Add.apply(result, rows, scalings, *tensors)  # type: ignore[no-untyped-call]
    return added.to(dtype)


class _Add(torch.autograd.Function):
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
            downs.append(product(x, a).mul_(scaling))
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
            of_down = product(part, b.t()).mul_(scaling)
            of_xs.append(product(of_down, a.t()) if ctx.needs_input_grad[i] else None)
            # turned round, for `product` copies its first factor, and a rank is small
            of_as.append(product(of_down.t(), x.t()))
            of_bs.append(product(down.t(), part.t()).t())
        return gradient, None, None, *of_xs, *of_as, *of_bs


def _kinds(tensors: Sequence[Tensor], n: int) -> Iterator[Sequence[Tensor]]:
    """`n` equal parts: all tensors of one kind, then all of the next."""
    return (tensors[i * len(tensors) // n : (i + 1) * len(tensors) // n] for i in range(n))


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
