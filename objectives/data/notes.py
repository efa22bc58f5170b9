"""What becomes of the data on its way to the samples where nobody would see it: a line for each.

Nothing is changed here. A line has the count, and the way out where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from objectives.data.rows import Rows
from objectives.data.tokens import Pair
from objectives.data.tokens import Tokens
from objectives.settings.sections import DataSettings


__all__ = ["of_lengths", "of_pairs", "of_rows", "of_tokenizer"]

LONGEST = 400  # characters of a template that still fits a line


def of_rows(read: Mapping[str, Rows], data: DataSettings) -> Iterator[str]:
    """Rows and fields that are left out, and rows without an answer.

    Args:
        read: "train", and "validation" where it has a source of its own.
        data: With the prompts' template.
    """
    for part, each in read.items():
        if each.empty:
            total = len(each.rows) + each.empty
            yield f"data: {each.empty} of {total} {part} rows are empty, and left out"
        blank = sum(not row["output"].strip() for row in each.rows)
        if blank and data.mask_prompt:  # with the prompt in the loss there is text to learn
            yield (
                f"data: {blank} of {len(each.rows)} {part} rows have an empty output, which "
                "teaches or tests to answer nothing; delete them if that is not meant"
            )
        inputs = _inputs(each)
        if inputs and data.template != "alpaca" and "{input}" not in data.template:
            yield (
                f"data: {inputs} of {len(each.rows)} {part} rows have an input, which is left "
                "out: [data] template has no {input}; write it where the input is to stand"
            )
    if others := dict.fromkeys(name for each in read.values() for name in each.others):
        yield (
            f"data: beside instruction, input and output the rows have {', '.join(others)}, which "
            "is not read; put what matters into instruction or input"
        )


def _inputs(read: Rows) -> int:
    return sum(bool(row["input"].strip()) for row in read.rows)


def of_pairs(train: Sequence[Pair], validation: Sequence[Pair]) -> Iterator[str]:
    """Rows that are there more than once.

    Args:
        train: Prompts and answers to learn from.
        validation: Those to validate on.
    """
    seen = set(train)
    if again := len(train) - len(seen):
        yield (
            f"data: {again} of {len(train)} train rows repeat another one, and are learned from "
            "each time; delete them if that is not meant"
        )
    if shared := sum(pair in seen for pair in validation):
        yield (
            f"data: {shared} of {len(validation)} validation rows are train rows too, so that the "
            "validation loss flatters; delete them from one of the two"
        )


def of_lengths(tokens: Mapping[str, Tokens], data: DataSettings) -> Iterator[str]:
    """Rows that are longer than samples may be.

    Args:
        tokens: Of "train" and "validation".
        data: With `max_length`.
    """
    for part, each in tokens.items():
        lengths = np.diff(each.ends, prepend=0)
        # nothing of the answer is left, and nothing else is learned from
        lost = (each.starts >= data.max_length) & data.mask_prompt
        cut = (lengths > data.max_length) & ~lost
        setting, rows = f"[data] max_length = {data.max_length}", f"{len(lengths)} {part} rows"
        way_out = f"raise it (the longest has {lengths.max()} tokens)"
        if n := lost.sum():
            yield (
                f"{setting}: cuts off the whole answer of {n} of {rows}, which are left out; "
                f"{way_out}"
            )
        if n := cut.sum():
            yield f"{setting}: cuts off the end of {n} of {rows}; {way_out}"


def of_tokenizer(
    tokenizer: PreTrainedTokenizerBase, read: Mapping[str, Rows], template: str
) -> Iterator[str]:
    """A chat template that the prompts do not follow.

    Args:
        tokenizer: The base's.
        read: The rows, which have inputs or not.
        template: Of the prompts.
    """
    if not tokenizer.chat_template:
        return
    fields = "{instruction}" + ("\n\n{input}" if _inputs(read["train"]) else "")
    text = _written_out(tokenizer, fields)
    if text is not None and _follows(template, text.rpartition(fields)[2]):
        return
    short = text is not None and len(text) <= LONGEST
    example = json.dumps(text, ensure_ascii=False) if short else '"...", as that has it'
    yield (
        "data: the tokenizer has a chat template, which [data] template does not follow; for a "
        f"model that was tuned on it write template = {example}"
    )


def _written_out(tokenizer: Any, fields: str) -> str | None:
    """The chat template as one of ours; None where it takes no single turn of the user's."""
    turn = [{"role": "user", "content": fields}]
    try:
        text: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    except Exception:  # Jinja's, and whatever somebody's template raises
        return None
    return text if fields in text else None


def _follows(template: str, end: str) -> bool:
    """Whether the answer begins behind the same words."""
    return bool(end.strip()) and template.strip().endswith(end.strip())
