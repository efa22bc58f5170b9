"""What vLLM is told of an adapter; peft's configuration in, words out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


__all__ = ["vllm_lora"]

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
