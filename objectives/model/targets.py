"""Which modules of a base get an adapter: groups and names -> names as peft takes them.

resolve(base, "attention", where)       ["self_attn.k_proj", "self_attn.o_proj", ...]
resolve(base, "q_proj+v_proj", where)   ["q_proj", "v_proj"]
resolve(base, "all-linear", where)      all linear modules that take an adapter, but the output's

It reads a base's module names; weights it needs none.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from objectives.errors import UserError
from objectives.model.unfit import is_linear
from objectives.model.unfit import unfit_modules
from objectives.settings.variants import ALL_LINEAR
from objectives.settings.variants import GROUPS
from objectives.settings.variants import JOINT


__all__ = ["in_layers", "named", "resolve"]


def resolve(base: nn.Module, targets: str | Sequence[str], where: str) -> list[str]:
    """The modules as peft's `target_modules` takes them.

    Args:
        base: Without an adapter.
        targets: A group, module names, or module names as a searched `targets` joins them.
        where: The setting, for the message.

    Raises:
        UserError: The base has no such module, or it is of a kind that gets no adapter.
    """
    if targets in GROUPS:
        return _group(base, str(targets), where)
    names = targets.split(JOINT) if isinstance(targets, str) else list(targets)
    for name in names:
        _check_name(base, name, where)
    return names


def named(base: nn.Module, names: Collection[str]) -> dict[str, nn.Module]:
    """The modules that peft takes these names for, by path."""
    ends = tuple(f".{name}" for name in names)
    return {p: m for p, m in base.named_modules() if p in names or p.endswith(ends)}


def in_layers(path: str) -> bool:
    """Whether a module is in one of the repeated layers: the output head is in none."""
    return any(part.isdigit() for part in path.split("."))


def _group(base: nn.Module, group: str, where: str) -> list[str]:
    found = [path for path in _fit(base) if _is_in(path, group)]
    if not found:
        raise UserError(
            f"{where}: the model has no module in {group!r}{_unfit_told(base)}; {_way_out(base)}"
        )
    short = sorted({_short(path) for path in found})
    return short if named(base, short).keys() == set(found) else found


def _is_in(path: str, group: str) -> bool:
    if group == ALL_LINEAR:
        return True
    return in_layers(path) and _is_attention(path) == (group == "attention")


def _is_attention(path: str) -> bool:
    parents = path.lower().split(".")[:-1]
    return any("attn" in parent or "attention" in parent for parent in parents)


def _fit(base: nn.Module) -> Iterator[str]:
    """The linear modules that a group may have: the output head is left as it is."""
    unfit = unfit_modules(base)
    head = base.get_output_embeddings() if isinstance(base, PreTrainedModel) else None
    for path, module in base.named_modules():
        if is_linear(module) and module is not head and path not in unfit:
            yield path


def _short(path: str) -> str:
    """The name with its parent's: GPT-2 calls one in the attention and one in the MLP `c_proj`."""
    parent, _, name = path.rpartition(".")
    parent = parent.rpartition(".")[2]
    return name if parent.isdigit() or not parent else f"{parent}.{name}"


def _check_name(base: nn.Module, name: str, where: str) -> None:
    modules = named(base, [name])
    unfit = unfit_modules(base)
    for path in modules:
        if path in unfit:
            raise UserError(f"{where}: {name!r} {unfit[path].refusal}; {_way_out(base)}")
    if not modules:
        raise UserError(f"{where}: the model has no module {name!r}; {_way_out(base)}")
    wrong = [m for m in modules.values() if not isinstance(m, nn.Linear | Conv1D | nn.Embedding)]
    if wrong:
        kind = type(wrong[0]).__name__
        raise UserError(f"{where}: {name!r} is a {kind}, not linear; {_way_out(base)}")


def _unfit_told(base: nn.Module) -> str:
    names = dict.fromkeys(unfit.name for unfit in unfit_modules(base).values())
    return f" that takes an adapter ({', '.join(names)} take none)" if names else ""


def _way_out(base: nn.Module) -> str:
    fit = sorted({path.rpartition(".")[2] for path in _fit(base)})
    if not fit:
        return "it has none that takes an adapter; name another model"
    return f'its linear ones are {", ".join(fit)}; or write targets = "all-linear"'
