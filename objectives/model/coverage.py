"""What of a base an adapter is put on, and what not, as a line; reads no weights."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable

from torch import nn

from objectives.model.targets import in_layers
from objectives.model.targets import named
from objectives.model.unfit import is_linear
from objectives.model.unfit import Unfit
from objectives.model.unfit import unfit_modules


__all__ = ["coverage"]


def coverage(base: nn.Module, names: Collection[str]) -> str:
    """As "q_proj, v_proj in 2 layers, lm_head (9 % of the base's weights); not adapted: router".

    Args:
        base: Without an adapter; its weights are not read.
        names: As peft's `target_modules` gets them.
    """
    adapted = named(base, names)
    rest = _not_adapted(base, adapted)
    left = f"; not adapted: {rest}" if rest else ""
    share = _percent(base, adapted.values())
    return f"{_adapted(adapted)} ({share} of the base's weights){left}"


def _adapted(paths: Collection[str]) -> str:
    inside = [path for path in paths if in_layers(path)]
    layers = len({_layer(path) for path in inside})
    where = f" in {layers} layer{'s' if layers > 1 else ''}" if layers else ""
    outside = [path for path in paths if path not in inside]
    return ", ".join(filter(None, [_list(map(_name, inside)) + where, _list(map(_name, outside))]))


def _not_adapted(base: nn.Module, adapted: Collection[str]) -> str:
    """Of the layers: an output head has no adapter as a rule."""
    unfit = unfit_modules(base)
    others = {
        path: unfit.get(path) or Unfit(_name(path), "", "")
        for path, module in base.named_modules()
        if in_layers(path) and path not in adapted and (path in unfit or is_linear(module))
    }
    reasons = list(dict.fromkeys(other.why for other in others.values()))
    parts = (
        _list(other.name for other in others.values() if other.why == why)
        + (f" ({why})" if why else "")
        for why in reasons
    )
    return ", ".join(parts)


def _percent(base: nn.Module, modules: Iterable[nn.Module]) -> str:
    weights = sum(p.numel() for module in modules for p in module.parameters(recurse=False))
    percent = 100 * weights / sum(p.numel() for p in base.parameters())
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"


def _layer(path: str) -> str:
    """The path as far as the layer's number."""
    parts = path.split(".")
    number = next(n for n, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: number + 1])


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _list(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
