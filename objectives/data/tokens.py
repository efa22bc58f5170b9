"""Token ids of many records, laid end to end; writes nothing but its cache folder."""

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

from objectives.data.encoders import Encode
from objectives.data.records import Record
from objectives.output import unwritable
from objectives.output import write_whole


__all__ = ["Tokens", "digest", "tokenise", "tokenizer_hash"]

CHUNK = 1000  # records encoded at once: a tokenizer's encodings take 100 times the ids' memory


@dataclass(frozen=True)
class Tokens:
    """Rows laid end to end: row i is ids[ends[i - 1] : ends[i]].

    Attributes:
        ids: BOS (where there is one), prompt, answer, EOS of every row; or its turns.
        answers: Whether a token is an answer's.
        ends: Where each row ends in both.
    """

    ids: NDArray[np.int32]
    answers: NDArray[np.bool_]
    ends: NDArray[np.int64]


def tokenise(records: Sequence[Record], encode: Encode, cache: Path | None, key: str) -> Tokens:
    """Encodes records.

    Args:
        records: What to encode.
        encode: What does it.
        cache: Folder of earlier results, made if needed; None encodes anew.
        key: Name of the result in the cache: a digest of all that it depends on.

    Raises:
        UserError: The folder cannot be written.
        Refused: A record cannot be encoded.
    """
    if cache is None:
        return _encoded(records, encode)
    file = cache / f"{key}.v2.safetensors"  # the version is that of Tokens' fields
    try:
        return Tokens(**load_file(file))
    except (OSError, SafetensorError):  # not there, not ours to read, or cut by a full disk
        tokens = _encoded(records, encode)
    try:
        write_whole(file, save(vars(tokens)))
    except OSError as error:
        raise unwritable(cache, error) from None
    return tokens


def _encoded(records: Sequence[Record], encode: Encode) -> Tokens:
    ids, answers, lengths = [], [], list[int]()
    for chunk in (records[i : i + CHUNK] for i in range(0, len(records), CHUNK)):
        for row, answer in encode(chunk):
            ids.append(np.array(row, np.int32))
            answers.append(np.array(answer, np.bool_))
            lengths.append(len(row))
    return Tokens(np.concatenate(ids), np.concatenate(answers), np.cumsum(lengths, dtype=np.int64))


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
