"""What vLLM is told of an adapter, and Python of a 4-bit base; settings in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from objectives.settings.sections.model import ModelSettings


__all__ = ["four_bits", "vllm_lora"]

_FOUR_BITS = """\
QUANTIZATION = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype="{dtype}",
)
"""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Those that `--max-lora-rank` takes (vLLM 0.14, `MaxLoRARanks`; earlier ones have no 1)."""


def vllm_lora(config: Mapping[str, Any], name: str, folder: str) -> list[str]:
    """The arguments of `vllm serve` behind the base's; none where vLLM does not take the adapter.

    Args:
        config: peft's.
        name: What the adapter is called then.
        folder: Where it is.
    """
    if config.get("use_dora"):
        return []
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    room = next((each for each in _RANKS if each >= rank), int(rank))
    modules = ["--enable-lora", "--lora-modules", f"{name}={folder}"]
    return [*modules, "--max-lora-rank", str(room)]


def four_bits(model: ModelSettings) -> str:
    """Lines of Python that quantize a base as it was for training; none of one in whole weights.

    Args:
        model: The base.
    """
    if model.quantization is None:
        return ""
    return _FOUR_BITS.format(dtype="bfloat16" if model.dtype == "auto" else model.dtype)
