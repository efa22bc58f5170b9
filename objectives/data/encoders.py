"""Records -> token ids, and which of them are an answer's; a function for each form of records.

Instructions are cut where lm-eval cuts context and continuation (lm_eval 0.4.13,
`LM._encode_pair`): white space at the prompt's end belongs to the answer; the answer's tokens are
those of the whole text behind the first n, where n is the number of tokens of the prompt alone.
So a trial is trained on the very tokens that a task with the same prompt is scored on.

All others are cut where TRL cuts them (trl 1.16, `SFTTrainer` and `DPOTrainer`): behind a prompt
the answer begins where the tokens of the prompt alone and of the whole text part.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from objectives.data.chat import ChatTemplate
from objectives.data.chat import NotWritten


__all__ = ["Encode", "Encoded", "Refused", "encoder"]

Encoded = tuple[list[int], list[bool]]
"""Ids, and for each whether it is an answer's."""
Encode = Callable[[Sequence[tuple[str, str] | str]], list[Encoded]]
"""Of each record one, and of a preference two: the chosen one and then the rejected one."""


class Refused(Exception):
    """A record that cannot be written out, and why."""

    def __init__(self, record: str, reason: str) -> None:
        super().__init__(reason)
        self.record = record


def encoder(kind: str, tokenizer: PreTrainedTokenizerBase, chat: ChatTemplate | None) -> Encode:
    """What makes tokens of records of a kind.

    Args:
        kind: As `records` has them.
        tokenizer: With an EOS token.
        chat: For records of turns.
    """
    if kind in ("instruction", "completion"):
        return partial(_instructions if kind == "instruction" else _completions, tokenizer)
    return partial(
        _each, {"chat": _chat, "answer": _answer, "preference": _preference}[kind], tokenizer, chat
    )


def _each(
    of_one: Callable[..., list[Encoded]],
    tokenizer: PreTrainedTokenizerBase,
    chat: ChatTemplate | None,
    records: Sequence[str],
) -> list[Encoded]:
    encoded = []
    for record in records:
        try:
            encoded += of_one(json.loads(record), tokenizer, chat)
        except NotWritten as error:
            raise Refused(record, str(error)) from None
    return encoded


def _instructions(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[Encoded]:
    bos = _bos(tokenizer)
    whole = _encode([text + answer for text, answer in pairs], tokenizer)
    context = _encode([text.rstrip() for text, _ in pairs], tokenizer)
    rows = zip(whole, context, strict=True)
    return [
        _answer_from(len(_with_bos(bos, before)), _with_bos(bos, ids) + [tokenizer.eos_token_id])
        for ids, before in rows
    ]


def _completions(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[Encoded]:
    whole = _texts([text + _ended(answer, tokenizer) for text, answer in pairs], tokenizer)
    context = _texts([text for text, _ in pairs], tokenizer)
    return [_behind(before, ids)[0] for before, ids in zip(context, whole, strict=True)]


def _chat(record: dict[str, Any], _: PreTrainedTokenizerBase, chat: ChatTemplate) -> list[Encoded]:
    return [chat.answers_in(record["turns"], record.get("tools"))]


def _answer(
    record: dict[str, Any], _: PreTrainedTokenizerBase, chat: ChatTemplate
) -> list[Encoded]:
    before = chat.ids_of(record["prompt"], is_prompt=True)
    return _behind(before, chat.ids_of(record["prompt"] + record["completion"]))


def _preference(
    record: dict[str, Any], tokenizer: PreTrainedTokenizerBase, chat: ChatTemplate | None
) -> list[Encoded]:
    asked, answers = record["prompt"], [record["chosen"], record["rejected"]]
    if chat is None:
        ended = [asked + _ended(answer, tokenizer) for answer in answers]
        return _behind(*_texts([asked, *ended], tokenizer))
    before = chat.ids_of(asked, is_prompt=True)
    return _behind(before, *(chat.ids_of(asked + answer) for answer in answers))


def _behind(context: list[int], *wholes: list[int]) -> list[Encoded]:
    """The answers begin where the context and one of them part."""
    start = min(_common(context, ids) for ids in wholes)
    return [_answer_from(start, ids) for ids in wholes]


def _common(ids: list[int], others: list[int]) -> int:
    pairs = enumerate(zip(ids, others, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(ids), len(others)))


def _answer_from(start: int, ids: list[int]) -> Encoded:
    return ids, [i >= start for i in range(len(ids))]


def _ended(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token


def _texts(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    bos = _bos(tokenizer)
    return [_with_bos(bos, ids) for ids in _encode(texts, tokenizer)]


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
