"""Prompts and answers -> token ids; writes nothing but its cache folder.

Prompt and answer are cut where lm-eval cuts context and continuation (lm_eval 0.4.13,
`LM._encode_pair`): white space at the prompt's end belongs to the answer; the answer's tokens are
those of the whole text behind the first n, where n is the number of tokens of the prompt alone.
So a trial is trained on the very tokens that a task with the same prompt is scored on.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save
from transformers import PreTrainedTokenizerBase

from objectives.output import unwritable
from objectives.output import write_whole


__all__ = ["Pair", "Tokens", "digest", "tokenise", "tokenizer_hash"]

Pair = tuple[str, str]  # prompt, answer

CHUNK = 1000  # rows encoded at once: a tokenizer's encodings take 100 times the ids' memory


@dataclass(frozen=True)
class Tokens:
    """Rows laid end to end: row i is ids[ends[i - 1] : ends[i]].

    Attributes:
        ids: BOS (where the tokenizer puts one), prompt, answer, EOS of every row.
        ends: Where each row ends in ids.
        starts: Where each row's answer starts, counted from the row's own start.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    starts: NDArray[np.int64]


def tokenise(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, cache: Path | None, key: str
) -> Tokens:
    """Encodes prompts and answers.

    Args:
        pairs: What to encode.
        tokenizer: With an EOS token.
        cache: Folder of earlier results, made if needed; None encodes anew.
        key: Name of the result in the cache: a digest of all that it depends on.

    Raises:
        UserError: The folder cannot be written.
    """
    if cache is None:
        return _encode_pairs(pairs, tokenizer)
    file = cache / f"{key}.v1.safetensors"  # the version is that of Tokens' fields
    try:
        return Tokens(**load_file(file))
    except (OSError, SafetensorError):  # not there, not ours to read, or cut by a full disk
        tokens = _encode_pairs(pairs, tokenizer)
    try:
        write_whole(file, save(vars(tokens)))
    except OSError as error:
        raise unwritable(cache, error) from None
    return tokens


def _encode_pairs(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> Tokens:
    bos = _bos(tokenizer)
    rows, starts = [], []
    for chunk in (pairs[i : i + CHUNK] for i in range(0, len(pairs), CHUNK)):
        whole = _encode([text + answer for text, answer in chunk], tokenizer)
        context = _encode([text.rstrip() for text, _ in chunk], tokenizer)
        rows += [_with_bos(bos, ids) + [tokenizer.eos_token_id] for ids in whole]
        starts += [len(_with_bos(bos, ids)) for ids in context]
    ends = np.cumsum([len(ids) for ids in rows], dtype=np.int64)
    return Tokens(np.concatenate(rows).astype(np.int32), ends, np.array(starts, np.int64))


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Ids without special tokens of the tokenizer's own; verbose would complain of lengths."""
    encoded = tokenizer(
        texts, add_special_tokens=False, return_attention_mask=False, verbose=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """BOS if the tokenizer itself puts it in front of a text, as lm-eval leaves it to do."""
    return [i for i in tokenizer("a")["input_ids"][:1] if i == tokenizer.bos_token_id]


def _with_bos(bos: list[int], ids: list[int]) -> list[int]:
    return ids if ids[:1] == bos else bos + ids


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Equal for tokenizers that give the same ids, in whichever process."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    if rules is None:
        state: object = [type(tokenizer).__name__, tokenizer.get_vocab()]
    else:
        # Truncation and padding are what the last call asked for, not what the tokenizer is.
        whole = json.loads(rules.to_str())
        state = {key: whole[key] for key in whole if key not in ("truncation", "padding")}
    return digest([state, tokenizer.bos_token_id, tokenizer.eos_token_id])


def digest(parts: Iterable[object]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return hasher.hexdigest()
