"""What becomes of the data on its way to the samples where nobody would see it: a line for each.

Nothing is changed here. A line has the count, and the way out where there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from objectives.data.chat import ChatTemplate
from objectives.data.chat_notes import of_chat
from objectives.data.chat_notes import of_turns
from objectives.data.reading.rows import FIELDS
from objectives.data.reading.rows import Rows
from objectives.data.records import Record
from objectives.data.tokens import Tokens
from objectives.settings.sections.data import columns_in
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.data import MOST_VALIDATION_ROWS


__all__ = ["of_lengths", "of_records", "of_rows", "of_split", "of_tokenizer"]

LONGEST = 400  # characters of a template that still fits a line


def of_rows(read: Mapping[str, Sequence[Rows]], data: DataSettings, masks: bool) -> Iterator[str]:
    """Rows and columns that are left out, and rows without an answer.

    Args:
        read: "train", and "validation" where it has sources of its own.
        data: With the prompts' template.
        masks: Whether answers alone count.
    """
    everything = [rows for part in read.values() for rows in part]
    for names in dict.fromkeys(filter(None, map(_guessed, everything))):
        yield f"data: the rows' {names}; [data] fields says it where that is wrong"
    for part, each in read.items():
        yield from _of_part(each, data, part, masks)
    yield from _of_others(everything)


def of_split(taken: int, data: DataSettings) -> Iterator[str]:
    """How many rows are for validation, where that depends on how many there are."""
    depends = data.validation is None and data.validation_rows is None
    if depends and data.validation_limit is None and taken < MOST_VALIDATION_ROWS:
        yield (
            f"data: {taken} of the rows are for validation; [data] validation_rows takes another "
            "number"
        )


def _guessed(rows: Rows) -> str:
    columns, parts = rows.layout.columns, rows.layout.guessed
    if not parts:
        return ""
    verb = "is" if len(parts) == 1 else "are"
    return f"{' and '.join(columns[p] for p in parts)} {verb} read as {' and '.join(parts)}"


def _of_part(read: Sequence[Rows], data: DataSettings, part: str, masks: bool) -> Iterator[str]:
    rows = [row for each in read for row in each.rows]
    left, empty = Counter[str](), sum(each.empty for each in read)
    for each in read:
        left.update(each.left)
    if empty:
        yield f"data: {empty} of {len(rows) + empty} {part} rows are empty, and left out"
    for reason, count in left.items():
        total = len(rows) + left.total()
        yield f"data: {count} of {total} {part} rows {reason}; they are left out"
    blank = sum(not row[key].strip() for row in rows for key in _text_answers(row))
    if blank and (masks or blank == len(rows)):  # else there is a prompt to learn
        yield (
            f"data: {blank} of {len(rows)} {part} rows have an empty {_answer_of(read)}, which "
            "teaches or tests to answer nothing; delete them if that is not meant"
        )
    if alike := sum("chosen" in row and row["chosen"] == row["rejected"] for row in rows):
        yield (
            f"data: {alike} of {len(rows)} {part} rows prefer an answer to itself, from which "
            "nothing is learned; delete them"
        )
    inputs = _inputs(read)
    if inputs and data.own_template and "input" not in columns_in(data.template):
        yield (
            f"data: {inputs} of {len(rows)} {part} rows have an input, which is left "
            "out: [data] template has no {input}; write it where the input is to stand"
        )
    yield from of_turns(rows, data, part)


def _text_answers(row: Mapping[str, Any]) -> list[str]:
    names = ("output", "completion", "chosen", "rejected")
    return [key for key in names if isinstance(row.get(key), str)]


def _answer_of(read: Sequence[Rows]) -> str:
    names = {"instruction": "output", "preference": "answer"}
    return names.get(read[0].layout.form, "completion")


def _of_others(read: Sequence[Rows]) -> Iterator[str]:
    others = dict.fromkeys(name for each in read for name in each.others)
    columns = dict.fromkeys(name for each in read for name in each.layout.read)
    if not others:
        return
    if read[0].layout.form == "instruction" and columns.keys() <= {*FIELDS, "system"}:
        yield (
            f"data: beside instruction, input and output the rows have {', '.join(others)}, which "
            "is not read; put what matters into instruction or input"
        )
    else:
        told = ", ".join(name for name in columns if name not in others)
        yield (
            f"data: beside {told} the rows have {', '.join(others)}, which is not read; name what "
            "matters in [data] fields or template"
        )


def _inputs(read: Sequence[Rows]) -> int:
    return sum(bool(row.get("input", "").strip()) for each in read for row in each.rows)


def of_records(train: Sequence[Record], validation: Sequence[Record]) -> Iterator[str]:
    """Rows that are there more than once.

    Args:
        train: Records to learn from.
        validation: Those to validate on.
    """
    seen = set(train)
    if again := len(train) - len(seen):
        yield (
            f"data: {again} of {len(train)} train rows repeat another one, and are learned from "
            "each time; delete them if that is not meant"
        )
    if shared := sum(record in seen for record in validation):
        yield (
            f"data: {shared} of {len(validation)} validation rows are train rows too, so that the "
            "validation loss flatters; delete them from one of the two"
        )


def of_lengths(
    tokens: Mapping[str, Tokens], data: DataSettings, masks: bool, *, per_row: int = 1
) -> Iterator[str]:
    """Rows that are longer than samples may be, and those without a word of an answer.

    Args:
        tokens: Of "train" and "validation".
        data: With `max_length`.
        masks: Whether answers alone count.
        per_row: Sequences that a row has: two of a preference.
    """
    for part, each in tokens.items():
        begins = np.concatenate([[0], each.ends[:-1]])
        stops = np.minimum(each.ends, begins + data.max_length)
        so_far = np.concatenate([[0], np.cumsum(each.answers)])
        silent = (so_far[each.ends] == so_far[begins]) & masks
        # nothing of the answer is left, and nothing else is learned from
        lost = (so_far[stops] == so_far[begins]) & masks & ~silent
        lost, silent = (found.reshape(-1, per_row).any(axis=1) for found in (lost, silent))
        cut = (each.ends > stops).reshape(-1, per_row).any(axis=1) & ~lost & ~silent
        total, longest = f"{len(cut)} {part} rows", (each.ends - begins).max()
        setting = f"[data] max_length = {data.max_length}"
        way_out = f"raise it (the longest has {longest} tokens)"
        if n := silent.sum():
            yield f"data: {n} of {total} have no word of an answer, and are left out"
        if n := lost.sum():
            yield (
                f"{setting}: cuts off the whole answer of {n} of {total}, which are left out; "
                f"{way_out}"
            )
        if n := cut.sum():
            kept = np.repeat(~(lost | silent), per_row)
            whole = _whole(each, stops, kept)
            yield f"{setting}: cuts off the end of {n} of {total}{whole}; {way_out}"


def _whole(tokens: Tokens, stops: Any, kept: Any) -> str:
    """Of a chat that is cut, answers may be cut off from their first word on."""
    before = np.concatenate([[False], tokens.answers[:-1]])
    begins = np.concatenate([[0], tokens.ends[:-1]])
    before[begins] = False
    answers = np.flatnonzero(tokens.answers & ~before)
    row = np.searchsorted(tokens.ends, answers, side="right")
    n = int(((answers >= stops[row]) & kept[row]).sum())
    return f", and with it {n} whole answers" if n else ""


def of_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Rows],
    data: DataSettings,
    chat: ChatTemplate | None,
) -> Iterator[str]:
    """A chat template that the prompts do not follow, or that leaves something out.

    Args:
        tokenizer: The base's.
        train: The rows.
        data: With the prompts' template.
        chat: The chat template that writes them out, if one does.
    """
    if chat is not None:
        yield from of_chat(train, chat)
    elif tokenizer.chat_template and train[0].layout.form == "instruction":
        yield from _of_template(tokenizer, train, data.template)


def _of_template(
    tokenizer: PreTrainedTokenizerBase, train: Sequence[Rows], template: str
) -> Iterator[str]:
    fields = "{instruction}" + ("\n\n{input}" if _inputs(train) else "")
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
