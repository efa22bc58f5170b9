"""Saves a Llama of random weights, for throughput.py: what a trial takes, not what it learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers import LlamaConfig
from transformers import LlamaForCausalLM


__all__ = ["SIZES", "random_model"]

# "1b" is Llama-3.2-1B; "0.1b" has about a tenth of its parameters; "tiny" is for a look on a CPU.
SIZES: Mapping[str, Mapping[str, int]] = {
    "tiny": {
        "vocab_size": 2048,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "0.1b": {
        "vocab_size": 32_000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
    },
    "1b": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


def random_model(size: str, tokenizer: Path, folder: Path) -> Path:
    """The folder, with the model in bfloat16 where there is CUDA, and a copy of the tokenizer."""
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        **SIZES[size],
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.to(torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
