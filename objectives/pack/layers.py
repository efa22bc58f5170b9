"""The linear modules of a base that carries several adapters at once; trains nothing.

    layout = Layout()
    draws = Draws(device)
    pairs = take_pairs(bench.base, draws)        of the adapter that is on the base now
    place(bench.base, [pairs, ...], layout)      `bench.release` takes them off again

A batch's rows are adapter-major: first those of one adapter, then those of the next. The base's
weight is applied to all rows at once, an adapter's A and B to its own rows only, each with its own
rank: nothing is padded to the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F
from transformers.integrations import neftune_post_forward_hook

from objectives.errors import UserError
from objectives.pack.products import add
from objectives.pack.products import Addend
from objectives.pack.products import Factors
from objectives.pack.products import Stack
from objectives.training.checkpoint import generators


__all__ = ["Draws", "Layout", "Noise", "PackedLinear", "Pair", "Part", "place", "take_pairs"]

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
        self._device = device.type
        self.restore(generators(device))

    def restore(self, states: Mapping[str, Tensor]) -> None:
        """Goes on where `states` were taken."""
        self._states = dict(states)

    @property
    def states(self) -> dict[str, Tensor]:
        """As `generators` would find them if the adapter trained alone."""
        return self._states

    def __call__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._generator.set_rng_state(self._states[self._device])
        y = function(x)
        self._states[self._device] = self._generator.get_rng_state()
        return y


class Noise:
    """A hook on the embeddings: each adapter's NEFTune noise, as it is when that trains alone."""

    def __init__(self, alphas: Sequence[float], draws: Sequence[Draws], layout: Layout) -> None:
        self._of = [
            (SimpleNamespace(training=True, neftune_noise_alpha=alpha), own)
            for alpha, own in zip(alphas, draws, strict=True)
        ]
        self._layout = layout

    def __call__(self, embedding: nn.Module, _: object, embedded: Tensor) -> Tensor:
        if not embedding.training:
            return embedded
        parts = self._layout.parts
        rows = torch.split(embedded, [part.rows for part in parts])
        return torch.cat([self._noisy(part, own) for part, own in zip(parts, rows, strict=True)])

    def _noisy(self, part: Part, rows: Tensor) -> Tensor:
        of_adapter, draws = self._of[part.adapter]
        if of_adapter.neftune_noise_alpha == 0:
            return rows
        own = rows[:, : part.tokens].contiguous()
        noisy = draws(lambda x: neftune_post_forward_hook(of_adapter, (), x), own)
        return torch.cat([noisy, rows[:, part.tokens :]], dim=1)


class Pair(nn.Module):
    """One adapter's A, B, dropout and scaling at one linear module, as peft made them."""

    def __init__(self, layer: LoraLayer, draws: Draws) -> None:
        super().__init__()
        self.A, self.B = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        self.scaling = float(layer.scaling[NAME])
        self.dropout = layer.lora_dropout[NAME]
        self._draws = draws

    def dropped(self, x: Tensor, tokens: int) -> Tensor:
        """dropout(x) in A's type, or in any under autocast; x itself where nothing is dropped.

        Args:
            x: (rows, tokens, features).
            tokens: Of them, those that are not padding; dropout draws for all it gets.
        """
        if not (self.dropout.training and isinstance(self.dropout, nn.Dropout)):
            return x if torch.is_autocast_enabled(x.device.type) else x.to(self.A.dtype)
        own = x[:, :tokens].to(self.A.dtype)
        # contiguous as it is when the adapter trains alone
        dropped = self._draws(self.dropout, own.contiguous())
        return F.pad(dropped, (0, 0, 0, x.shape[1] - tokens)) if tokens < x.shape[1] else dropped

    @property
    def factors(self) -> Factors:
        """A, B and scaling."""
        return Factors(self.A, self.B, self.scaling)


class PackedLinear(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear module with the pairs of several adapters; not all of them need one here."""

    def __init__(self, base_layer: nn.Module, pairs: Mapping[int, Pair], layout: Layout) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.pairs = nn.ModuleDict({str(adapter): pair for adapter, pair in pairs.items()})
        self._layout = layout
        self._stack = Stack([pair.factors for pair in pairs.values()])
        self._places = {adapter: place for place, adapter in enumerate(pairs)}

    def forward(self, x: Tensor) -> Tensor:
        """The module's output on all rows, (rows, tokens, features), each with its adapter's."""
        parts = self._layout.parts
        if x.dim() != 3 or x.shape[0] != sum(part.rows for part in parts):
            raise UserError(
                "--pack: an adapted module does not get the batch's rows as they are (an output "
                "head or an expert does not); name other targets, or leave --pack out"
            )
        # not flattened afterwards: to change a view, autograd copies what it is a view of
        result: Tensor = self.base_layer(x.flatten(0, 1))
        return self._plus_addends(result, x).view(*x.shape[:2], -1)

    def _plus_addends(self, result: Tensor, x: Tensor) -> Tensor:
        """What the adapters that have a pair here add to the base's result."""
        addends, start, nothing_dropped = [], 0, True
        sizes = [part.rows for part in self._layout.parts]
        for part, own in zip(self._layout.parts, torch.split(x, sizes), strict=True):
            rows = slice(start, start + part.rows * x.shape[1])
            start = rows.stop
            if str(part.adapter) in self.pairs:
                pair: Any = self.pairs[str(part.adapter)]
                dropped = pair.dropped(own, part.tokens)
                nothing_dropped = nothing_dropped and dropped is own
                place = self._places[part.adapter]
                addends.append(Addend(rows, dropped.flatten(0, 1), pair.factors, place))
        whole = x.flatten(0, 1) if nothing_dropped else None
        return add(result, addends, self._stack, whole)


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


def place(base: nn.Module, adapters: Sequence[Mapping[str, Pair]], layout: Layout) -> None:
    """Puts all adapters of a pack on a base that carries none.

    Args:
        base: Changed in place.
        adapters: Of each, the pairs from `take_pairs`.
        layout: What the modules ask whose rows they get.
    """
    for name in dict.fromkeys(name for pairs in adapters for name in pairs):
        here = {n: pairs[name] for n, pairs in enumerate(adapters) if name in pairs}
        base.set_submodule(name, PackedLinear(base.get_submodule(name), here, layout))
