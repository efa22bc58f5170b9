"""Names for groups of modules -> the modules that get an adapter; reads a base's module names.

resolve(base, "attention", where)       ["self_attn.k_proj", "self_attn.o_proj", ...]
resolve(base, "q_proj+v_proj", where)   ["q_proj", "v_proj"]
resolve(base, "all-linear", where)      "all-linear", which peft knows
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from objectives.errors import UserError
from objectives.variants import ALL_LINEAR
from objectives.variants import GROUPS
from objectives.variants import JOINT


__all__ = ["resolve"]


def resolve(base: nn.Module, targets: str | Sequence[str], where: str) -> str | list[str]:
    """The modules as peft's `target_modules` takes them.

    Args:
        base: Without an adapter.
        targets: A group, module names, or module names as a searched `targets` joins them.
        where: The setting, for the message.

    Raises:
        UserError: The base has no such module, or it is of a kind that gets no adapter.
    """
    if targets == ALL_LINEAR:
        return ALL_LINEAR
    if targets in GROUPS:
        return _group(base, str(targets), where)
    names = targets.split(JOINT) if isinstance(targets, str) else list(targets)
    for name in names:
        _check_name(base, name, where)
    return names


def _group(base: nn.Module, group: str, where: str) -> list[str]:
    attention = group == "attention"
    found = {_short(path) for path in _in_layers(base) if _is_attention(path) == attention}
    if not found:
        raise UserError(f"{where}: the model has no module in {group!r}; {_way_out(base)}")
    return sorted(found)


def _is_attention(path: str) -> bool:
    parents = path.lower().split(".")[:-1]
    return any("attn" in parent or "attention" in parent for parent in parents)


def _in_layers(base: nn.Module) -> Iterator[str]:
    """The linear modules of the repeated layers: the output's is none of them."""
    for path in _linear(base):
        if any(part.isdigit() for part in path.split(".")):
            yield path


def _linear(base: nn.Module) -> Iterator[str]:
    for path, module in base.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            yield path


def _short(path: str) -> str:
    """The name with its parent's: GPT-2 calls one in the attention and one in the MLP `c_proj`."""
    parent, name = path.split(".")[-2:]
    return name if parent.isdigit() else f"{parent}.{name}"


def _check_name(base: nn.Module, name: str, where: str) -> None:
    modules = dict(base.named_modules())
    named = [m for path, m in modules.items() if path == name or path.endswith(f".{name}")]
    if not named:
        raise UserError(f"{where}: the model has no module {name!r}; {_way_out(base)}")
    if not all(isinstance(module, nn.Linear | Conv1D | nn.Embedding) for module in named):
        kind = type(named[0]).__name__
        raise UserError(f"{where}: {name!r} is a {kind}, not linear; {_way_out(base)}")


def _way_out(base: nn.Module) -> str:
    linear = sorted({path.rpartition(".")[2] for path in _linear(base)})
    return f'its linear ones are {", ".join(linear)}; or write targets = "all-linear"'
