"""What settings ask of this machine beyond torch and peft: packages, CUDA; loads no model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import torch
from transformers import PreTrainedModel

from objectives.errors import UserError
from objectives.model.quantized import check_can_quantize
from objectives.settings.config import Experiment
from objectives.settings.sections.training import is_of_bitsandbytes


__all__ = ["apply_liger", "check_extras", "check_liger", "notes_of_paging"]

_LIGER = "`[model] use_liger_kernel` = true"
_WITHOUT_LIGER = "leave use_liger_kernel out"


def check_extras(experiment: Experiment) -> None:
    """Before anything is loaded.

    Raises:
        UserError: A package or a CUDA device is missing.
    """
    if experiment.model.quantization is not None:
        check_can_quantize()
    for optimizer in experiment.values_of("optimizer"):
        _check_optimizer(str(optimizer))
    if experiment.model.use_liger_kernel:
        _check_can_liger()


def _check_optimizer(name: str) -> None:
    if not is_of_bitsandbytes(name):
        return
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"`[training] optimizer` = {name!r}: needs bitsandbytes; pip install bitsandbytes, "
            'or write optimizer = "adamw_torch_fused"'
        )
    if name.startswith("paged") and not torch.cuda.is_available():
        raise UserError(
            f"`[training] optimizer` = {name!r}: pages CUDA's memory, and torch finds no such "
            f'device; write optimizer = "{_unpaged(name)}"'
        )


def notes_of_paging(experiment: Experiment) -> Iterator[str]:
    """Where a process trains one trial after the other with states that are never freed."""
    for name in map(str, experiment.values_of("optimizer")):
        if name.startswith("paged") and experiment.study.warm:
            yield (
                f"`[training] optimizer` = {name!r}: bitsandbytes frees no pages, so each trial "
                f'leaves its own in memory; write optimizer = "{_unpaged(name)}", or give --cold'
            )


def _unpaged(name: str) -> str:
    """The same without pages; 32 bits are torch's own."""
    return "adamw_torch_fused" if name == "paged_adamw_32bit" else name.removeprefix("paged_")


def _check_can_liger() -> None:
    if not torch.cuda.is_available():
        raise UserError(
            f"{_LIGER}: its kernels need a CUDA device, and torch finds none; run it where there "
            f"is one, or {_WITHOUT_LIGER}"
        )
    if find_spec("liger_kernel") is None:
        raise UserError(
            f"{_LIGER}: needs liger-kernel; pip install liger-kernel, or {_WITHOUT_LIGER}"
        )


def check_liger(kind: str) -> None:
    """Before weights are loaded.

    Args:
        kind: transformers' `model_type`.

    Raises:
        UserError: Liger has no kernels for it.
    """
    patches = import_module("liger_kernel.transformers.monkey_patch")
    if kind not in patches.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise UserError(
            f"{_LIGER}: liger-kernel knows no model of type {kind!r}; {_WITHOUT_LIGER}"
        )


def apply_liger(base: PreTrainedModel) -> None:
    """Norms, rotations and MLPs; the loss is ours, which reads labelled positions only."""
    from transformers.integrations.liger import apply_liger_kernel

    ours = {"cross_entropy": False, "fused_linear_cross_entropy": False}
    apply_liger_kernel(base, ours)
