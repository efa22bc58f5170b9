"""What a base's configuration shows before its weights are loaded: what can be adapted at all.

For that the base is built without weights, and each kind of adapter that there may be put on it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
import copy
import warnings

from peft import get_peft_model
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from objectives.errors import UserError
from objectives.model.base import load_skeleton
from objectives.model.extras import check_liger
from objectives.model.starts import check_start
from objectives.model.targets import in_layers
from objectives.model.targets import is_linear
from objectives.model.targets import named
from objectives.model.targets import resolve
from objectives.model.targets import Unfit
from objectives.model.targets import unfit_modules
from objectives.settings.config import Experiment


__all__ = ["check_architecture", "quiet_peft"]


def check_architecture(experiment: Experiment) -> list[str]:
    """Loads the configuration of the base, and nothing else.

    Returns:
        What each kind of adapter is put on, a line for each.

    Raises:
        UserError: The base cannot be had, has no such modules or takes no adapter there, or
            samples are longer than it reads.
    """
    base = load_skeleton(experiment.model)
    if experiment.model.use_liger_kernel:
        check_liger(base.config.model_type)
    _check_length(base, experiment.data.max_length)
    _check_checkpointing(base, experiment)
    kinds = experiment.targets()
    lines = []
    for where, targets in kinds:
        names = resolve(base, targets, where)
        _check_peft(copy.deepcopy(base), names, where)
        check_start(base, names, experiment, where)
        kind = "" if len(kinds) == 1 else f" ({targets})"
        lines.append(f"adapters{kind}: {_coverage(base, names)}")
    return list(dict.fromkeys(lines))


def _check_length(base: nn.Module, max_length: int) -> None:
    limit = getattr(base.config, "max_position_embeddings", None)
    if limit is not None and max_length > limit:
        raise UserError(
            f"`[data] max_length` = {max_length}: the model takes {limit} tokens at most; "
            f"write max_length = {limit} or less"
        )


def _check_checkpointing(base: PreTrainedModel, experiment: Experiment) -> None:
    wanted = experiment.training.gradient_checkpointing is True
    if wanted and not base.supports_gradient_checkpointing:
        raise UserError(
            f"`[training] gradient_checkpointing` = true: {type(base).__name__} cannot; "
            "leave it out, and the micro-batch is halved where memory runs out"
        )


def _check_peft(base: nn.Module, names: Collection[str], where: str) -> None:
    """Whether peft puts an adapter with dropout on these modules and on no other."""
    wanted = set(named(base, names))
    config = LoraConfig(r=1, lora_dropout=0.1, target_modules=list(names), task_type="CAUSAL_LM")
    try:
        with quiet_peft():
            model = get_peft_model(base, config, low_cpu_mem_usage=True)
    except Exception as error:  # of many kinds, one for each of peft's own rules
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{where}: peft puts no adapter on {', '.join(names)} of this model ({reason}); "
            'name other modules, for example targets = "attention"'
        ) from None
    modules = model.get_base_model().named_modules()
    found = {path for path, module in modules if isinstance(module, BaseTunerLayer)}
    if found != wanted:
        others = ", ".join(sorted(found ^ wanted)[:3])
        raise UserError(
            f"{where}: peft puts adapters on other modules of this model than those named "
            f"({others}); name other modules"
        )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """peft 0.21 asks transformers 5 for an attribute by its old name, and every user is told."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        # GPT-2's modules are transposed: peft sees it and says so for each adapter
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        yield


def _coverage(base: nn.Module, names: Collection[str]) -> str:
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
