"""Modules of a base that get no adapter, and why; reads module names and configuration.

router      the gate that says which experts a token goes to: it belongs to all of them, and peft
            could not put an adapter on most of its kinds.
experts     fused: the weights of all experts are one parameter and no linear module. peft adapts
            such parameters without dropout only, and no pack can.
kernels     Mamba and its kin hand weights to fused kernels, past the module's forward: there an
            adapter has no effect. On `dt_proj` it has none anywhere.
claimed     peft 0.21 takes some names of modules, in mixtures of experts of transformers 5, for
            fused parameters, also where a dense module is called so.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass

from peft.utils.transformers_weight_conversion import _MODEL_TO_CONVERSION_PATTERN
from peft.utils.transformers_weight_conversion import _MOE_TARGET_MODULE_MAPPING
from torch import nn
from transformers.pytorch_utils import Conv1D


__all__ = ["Unfit", "is_linear", "unfit_modules"]

_READ_BY_KERNELS = ("x_proj", "dt_proj", "out_proj")


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
    claimed = _claimed_by_peft(base)
    experts = any(_is_of_experts(path, module) for path, module in modules.items())
    routers = [path for path in modules if experts and _is_gate(path, modules)]
    found = {path: _unfit(path, modules, routers, claimed) for path in modules}
    return {path: unfit for path, unfit in found.items() if unfit is not None}


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
