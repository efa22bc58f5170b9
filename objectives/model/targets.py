"""Which modules of a base get an adapter, and which none: groups and names -> names for peft.

resolve(base, "attention", where)       ["self_attn.k_proj", "self_attn.o_proj", ...]
resolve(base, "q_proj+v_proj", where)   ["q_proj", "v_proj"]
resolve(base, "all-linear", where)      all linear modules that take an adapter, but the output's

It reads a base's module names and configuration; weights it needs none. No adapter get

router      the gate that says which experts a token goes to: it belongs to all of them, and peft
            could not put an adapter on most of its kinds.
experts     fused: the weights of all experts are one parameter and no linear module. peft adapts
            such parameters without dropout only, and no pack can.
kernels     Mamba and its kin hand weights to fused kernels, past the module's forward: there an
            adapter has no effect. On `dt_proj` it has none anywhere.
towers      beside the decoder of text, for images or sound: rows are text, so no gradient ever
            gets there. A name that is a tower's and the decoder's too stands for the decoder's.
claimed     peft 0.21 takes some names of modules, in mixtures of experts of transformers 5, for
            fused parameters, also where a dense module is called so.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from peft.utils.transformers_weight_conversion import _MODEL_TO_CONVERSION_PATTERN
from peft.utils.transformers_weight_conversion import _MOE_TARGET_MODULE_MAPPING
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from objectives.errors import UserError
from objectives.settings.sections.targets import ALL_LINEAR
from objectives.settings.sections.targets import GROUPS
from objectives.settings.sections.targets import JOINT


__all__ = ["Unfit", "in_layers", "is_linear", "named", "resolve", "unfit_modules"]

NO_TEXT = "reads no text"
_READ_BY_KERNELS = ("x_proj", "dt_proj", "out_proj")


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
    found, towers = named(base, names), _in_towers(base)
    of_text = [path for path in found if path not in towers]
    return names if len(of_text) == len(found) else of_text


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
    unfit, towers = unfit_modules(base), _in_towers(base)
    modules = {p: m for p, m in modules.items() if p not in towers} or modules
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


@dataclass(frozen=True)
class Unfit:
    """Why a module gets no adapter.

    Attributes:
        name: What it is called among those that are not adapted.
        why: Why it is among them, where the name does not say it.
        refusal: What follows its name where somebody names it.
    """

    name: str
    why: str
    refusal: str


def is_linear(module: nn.Module) -> bool:
    """Of the kinds that groups of modules are made of."""
    return isinstance(module, nn.Linear | Conv1D)


def unfit_modules(base: nn.Module) -> dict[str, Unfit]:
    """By path, in the base's order."""
    modules = dict(base.named_modules())
    claimed, towers = _claimed_by_peft(base), _in_towers(base)
    experts = any(_is_of_experts(path, module) for path, module in modules.items())
    routers = [path for path in modules if experts and _is_gate(path, modules)]
    found = {path: towers.get(path) or _unfit(path, modules, routers, claimed) for path in modules}
    return {path: unfit for path, unfit in found.items() if unfit is not None}


def _in_towers(base: nn.Module) -> dict[str, Unfit]:
    """All modules beside the decoder of text and the output head, by path."""
    if not isinstance(base, PreTrainedModel):
        return {}
    if base.config.get_text_config(decoder=True) is base.config:
        return {}
    decoder, head = base.get_decoder(), base.get_output_embeddings()
    of_text = next((path for path, module in base.named_modules() if module is decoder), "")
    towers = {}
    for path, module in base.named_modules():
        tower = _apart(path, of_text)
        if tower is not None and module is not head:
            towers[path] = Unfit(tower, NO_TEXT, f"gets no adapter: {tower} {NO_TEXT}")
    return towers


def _apart(path: str, other: str) -> str | None:
    """The first part at which a path leaves another one."""
    pairs = zip(path.split("."), filter(None, other.split(".")), strict=False)
    return next((own for own, part in pairs if own != part), None)


def _unfit(
    path: str,
    modules: Mapping[str, nn.Module],
    routers: Collection[str],
    claimed: Collection[str],
) -> Unfit | None:
    module, name = modules[path], path.rpartition(".")[2]
    if any(path == router or path.startswith(f"{router}.") for router in routers):
        return Unfit("router", "", "is a router, which gets no adapter")
    if _is_of_experts(path, module) and not is_linear(module) and _has_matrix(module):
        return Unfit("experts", "fused weights", "has fused weights and is no linear module")
    if not is_linear(module):
        return None
    why = None
    if _is_past_adapters(path, modules):
        why = "state-space kernels pass by an adapter there"
    elif name in claimed:
        why = "peft takes the name for an expert's"
    return None if why is None else Unfit(name, why, f"gets no adapter: {why}")


def _is_of_experts(path: str, module: nn.Module) -> bool:
    return "expert" in f"{path}.{type(module).__name__}".lower()


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _is_gate(path: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether it is a router by name, or a gate beside experts."""
    parent, _, name = path.rpartition(".")
    if "router" in name.lower():
        return True
    beside = (other for other, _ in modules[parent].named_children() if other != name)
    return name.lower().endswith("gate") and any("expert" in other.lower() for other in beside)


def _is_past_adapters(path: str, modules: Mapping[str, nn.Module]) -> bool:
    parent, _, name = path.rpartition(".")
    mixer = modules[parent]  # linear attention has an A_log too, and no D
    return name in _READ_BY_KERNELS and hasattr(mixer, "A_log") and hasattr(mixer, "D")


def _claimed_by_peft(base: nn.Module) -> Collection[str]:
    """Names of modules that peft exchanges for parameters of experts."""
    kind = getattr(getattr(base, "config", None), "model_type", None)
    conversion = _MODEL_TO_CONVERSION_PATTERN.get(kind)
    names: Collection[str] = _MOE_TARGET_MODULE_MAPPING.get(conversion, {}).keys()
    return names
