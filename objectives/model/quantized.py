"""4-bit bases (QLoRA): what transformers is to load, and whether this machine can; loads nothing.

The linear weights are kept in NormalFloat 4 with double quantisation (Dettmers et al., "QLoRA",
NeurIPS 2023, section 3) and multiplied in the base's dtype; the adapter is in float32.

A CPU is refused although bitsandbytes has kernels for it: after a forward without gradients, such
as a validation, its CPU layers (0.50) use one that has no backward pass, and train wrongly.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from peft import prepare_model_for_kbit_training
import torch
from transformers import BitsAndBytesConfig
from transformers import PreTrainedModel

from objectives.errors import UserError
from objectives.settings.sections.model import ModelSettings


__all__ = [
    "check_can_quantize",
    "check_trainable",
    "dequantized",
    "loading_arguments",
    "precision",
    "prepared",
]


def check_can_quantize() -> None:
    """Before anything is loaded.

    Raises:
        UserError: bitsandbytes or a CUDA device is missing.
    """
    setting = '`[model] quantization` = "4bit"'
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{setting}: needs bitsandbytes; pip install bitsandbytes, or leave quantization out"
        )
    if not torch.cuda.is_available():
        raise UserError(
            f"{setting}: needs a CUDA device, and torch finds none; run it where there is one, "
            "or leave quantization out"
        )


def loading_arguments(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """For `from_pretrained`; a 4-bit model is put on its device while it is loaded."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def prepared(base: PreTrainedModel) -> PreTrainedModel:
    """Frozen, with what is not quantised (norms, embeddings) in float32 as peft wants it."""
    model: PreTrainedModel = prepare_model_for_kbit_training(
        base, use_gradient_checkpointing=False
    )
    return model


def check_trainable(base: PreTrainedModel, settings: ModelSettings) -> None:
    """Of a base that is stored in few bits: most such weights have no backward pass.

    Raises:
        UserError: Nothing can be trained on it.
    """
    quantizer = getattr(base, "hf_quantizer", None)
    if quantizer is None or quantizer.is_trainable:
        return
    kind = getattr(base.config.quantization_config, "quant_method", "few bits")
    raise UserError(
        f"`[model] name` = {settings.name!r}: is stored as {getattr(kind, 'value', kind)}, "
        "through which transformers trains nothing; name the same model in whole weights, and set "
        '`[model] quantization` = "4bit" where those are too large'
    )


def dequantized(base: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The weights that an adapter was trained beside, as whole ones."""
    whole: PreTrainedModel = base.dequantize().to(dtype)
    return whole


def precision(model: Any) -> AbstractContextManager[Any]:
    """Of a 4-bit base: its norms are in float32, and would have everything behind them so."""
    quantization = getattr(model.config, "quantization_config", None)
    dtype = getattr(quantization, "bnb_4bit_compute_dtype", None)  # other kinds, as FP8, have none
    return nullcontext() if dtype is None else torch.autocast(model.device.type, dtype)
