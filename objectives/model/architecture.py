"""Refuses what a base's configuration shows to be impossible, before its weights are loaded.

For that the base is built without weights, and each kind of adapter that there may be put on it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from contextlib import contextmanager
import copy
import warnings

from peft import get_peft_model
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from objectives.errors import UserError
from objectives.model.base import load_skeleton
from objectives.model.coverage import coverage
from objectives.model.targets import named
from objectives.model.targets import resolve
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
    _check_length(base, experiment.data.max_length)
    kinds = experiment.targets()
    lines = []
    for where, targets in kinds:
        names = resolve(base, targets, where)
        _check_peft(copy.deepcopy(base), names, where)
        kind = "" if len(kinds) == 1 else f" ({targets})"
        lines.append(f"adapters{kind}: {coverage(base, names)}")
    return list(dict.fromkeys(lines))


def _check_length(base: nn.Module, max_length: int) -> None:
    limit = getattr(base.config, "max_position_embeddings", None)
    if limit is not None and max_length > limit:
        raise UserError(
            f"`[data] max_length` = {max_length}: the model takes {limit} tokens at most; "
            f"write max_length = {limit} or less"
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
