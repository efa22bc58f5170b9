"""Adapters that start with a part of the base: PiSSA and OLoRA; the base gets its weights back.

    default     B is 0 and A random as nn.Linear's weights; `gaussian`: A normal
    pissa       the largest singular vectors of the weight (Meng et al., NeurIPS 2024), exactly, or
                by randomised SVD with so many iterations (`pissa_niter_16`), which is faster
    olora       the first columns of its QR decomposition (Bueyuekakyuez, 2024)

With W = R + s B0 A0 the last two train B A on the rest R. What is saved is an adapter for W:

    s (B A - B0 A0) = s [B | -B0] [A ; A0]

of twice the rank, as peft's `path_initial_model_for_weight_conversion` writes it. It gives the
losses of the training but for rounding, of W in the base's type among others.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import copy
import math
from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
import torch
from torch import nn
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from objectives.errors import UserError
from objectives.model.targets import named
from objectives.settings.config import Experiment
from objectives.settings.search.space import Choices
from objectives.settings.sections.training import starts_in_base


__all__ = ["check_start", "keep_start", "keep_weights", "save_for_whole"]

NAME = "default"  # peft's, for an adapter that got none
_START = "objectives_start"  # attribute of a layer: its A0 and B0


def check_start(
    base: nn.Module, names: Collection[str], experiment: Experiment, where: str
) -> None:
    """Before weights are loaded.

    Args:
        base: Without an adapter; its weights are not read.
        names: As peft's `target_modules` gets them.
        experiment: Its starts and ranks.
        where: What sets the names, for the message.

    Raises:
        UserError: A module there has no such part.
    """
    for start in map(str, experiment.values_of("init_lora_weights")):
        if starts_in_base(start):
            for path, module in named(base, names).items():
                if reason := _unfit(base, module, start, _largest_rank(experiment)):
                    raise UserError(
                        f"init_lora_weights = {start!r}: {path}, of {where}, {reason}; "
                        'name other targets, or write init_lora_weights = "default"'
                    )


def _largest_rank(experiment: Experiment) -> int:
    rank = experiment.search.rank
    if isinstance(rank, float):
        return int(rank)
    return int(max(rank.choices) if isinstance(rank, Choices) else rank.high)


def _unfit(base: nn.Module, module: nn.Module, start: str, rank: int) -> str | None:
    weight: Any = module.weight
    if not isinstance(module, nn.Linear | Conv1D):
        return f"is of kind {type(module).__name__}"
    if isinstance(module, Conv1D) and start == "olora":
        return "is a Conv1D, which peft's OLoRA takes for a Linear"
    if sum(1 for m in base.modules() if m._parameters.get("weight") is weight) > 1:
        return "shares its weight with another module"
    if rank > min(weight.shape):
        return f"has a weight of rank {min(weight.shape)}, and a trial may have rank {rank}"
    return None


def keep_weights(base: nn.Module, names: Collection[str]) -> Callable[[], None]:
    """What puts the modules' weights back to the bit, kept in the machine's memory."""
    modules: Iterable[Any] = named(base, names).values()
    kept = [(module.weight, module.weight.to("cpu", copy=True)) for module in modules]

    def put_back() -> None:
        with torch.no_grad():
            for parameter, weight in kept:
                parameter.copy_(weight)

    return put_back


def keep_start(model: PeftModel) -> None:
    """Notes A0 and B0 on an adapter that has just been made."""
    for _, layer in _layers(model):
        factors = (layer.lora_A[NAME].weight, layer.lora_B[NAME].weight)
        setattr(layer, _START, tuple(factor.detach().clone() for factor in factors))


def _layers(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer))


def save_for_whole(model: PeftModel, save: Callable[[dict[str, Tensor] | None], None]) -> None:
    """Has an adapter saved as it is, or as one for the whole base if it started with a part of it.

    Args:
        model: With the adapter.
        save: Writes the model's configuration, and these weights or its own.
    """
    starts = {n: getattr(m, _START) for n, m in _layers(model) if hasattr(m, _START)}
    if not starts:
        save(None)
        return
    config = model.peft_config[NAME]
    model.peft_config[NAME] = _doubled(config)
    try:
        save(dict(_whole(model, starts)))
    finally:
        model.peft_config[NAME] = config


def _doubled(config: Any) -> Any:
    """Of twice the rank, and scaled as before."""
    doubled = copy.copy(config)
    doubled.r = 2 * config.r
    doubled.lora_alpha = config.lora_alpha * (math.sqrt(2) if config.use_rslora else 2)
    doubled.init_lora_weights = True
    return doubled


def _whole(
    model: nn.Module, starts: Mapping[str, tuple[Tensor, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    for name, (a, b) in starts.items():
        layer: Any = model.get_submodule(name)
        trained_a, trained_b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        yield f"{name}.lora_A.{NAME}.weight", torch.cat([trained_a, a]).detach()
        yield f"{name}.lora_B.{NAME}.weight", torch.cat([trained_b, -b], dim=1).detach()
