"""What a model answers: greedy, from token ids; reads no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from objectives.model.quantized import precision


__all__ = ["answer"]


def answer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    tokens: int,
    end: int | None,
) -> str:
    """The text behind a prompt, without white space around it.

    Args:
        model: A causal language model, with or without an adapter; it is left in evaluation mode.
        tokenizer: Of the base.
        ids: The prompt's.
        tokens: Of the answer, at most.
        end: Token at which the model has learned to end, beside those that it and its tokenizer
            have of their own.
    """
    model.eval()
    prompt = torch.tensor([list(ids)], device=model.device)
    with torch.no_grad(), precision(model):
        found = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            do_sample=False,
            temperature=None,  # of the model's own settings, which are for drawing
            top_p=None,
            top_k=None,
            eos_token_id=_ends(model, tokenizer, end),
            pad_token_id=tokenizer.eos_token_id,
        )
    text: str = tokenizer.decode(found[0, prompt.shape[1] :], skip_special_tokens=True)
    return text.strip()


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase, end: int | None) -> list[int]:
    own = model.generation_config.eos_token_id  # of a model for chats a list
    known = (*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id, end)
    return sorted({token for token in known if token is not None})
