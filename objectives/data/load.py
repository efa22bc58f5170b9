"""The data of an experiment: read, split, weighted, tokenised and cut; the room's way in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from objectives.data import notes
from objectives.data.chat import ChatTemplate
from objectives.data.corpus import Corpus
from objectives.data.encoders import Encode
from objectives.data.encoders import encoder
from objectives.data.encoders import Refused
from objectives.data.reading.rows import load_rows
from objectives.data.reading.rows import Rows
from objectives.data.records import kind_of_records
from objectives.data.samples import asked_in
from objectives.data.samples import preferences_of
from objectives.data.samples import samples_of
from objectives.data.split import Entry
from objectives.data.split import once
from objectives.data.split import split
from objectives.data.tokens import digest
from objectives.data.tokens import tokenise
from objectives.data.tokens import tokenizer_hash
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.scoring import MOST_ASKED
from objectives.settings.sections.sources import sources_of


__all__ = ["load_corpus", "way_of_asking"]

TRIED = 100  # rows, when one is refused: whether it is the row or the template


def load_corpus(
    data: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path | None,
    *,
    preferences: bool = False,
) -> Corpus:
    """Reads, splits and tokenises the data of an experiment.

    Args:
        data: What to read, and how.
        tokenizer: Of the base; it must have an EOS token.
        cache: Folder for tokenised data, made if needed; None keeps nothing. Several processes
            may use one folder at once.
        preferences: Whether the training is of preferences; the samples are then `Preference`s.

    Raises:
        UserError: The data is not there, is of no format, or leaves no sample.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no EOS token; set eos_token in its configuration")
    read = _read(data, preferences)
    kind = _kind(read, data, preferences)
    _check_used(data, [rows for part in read.values() for rows in part])
    masks = _masks(data, read["train"][0], kind)
    chat = _chat_template(data, tokenizer, read["train"][0])
    parts = split(read, data)
    records = {part: [entry.record for entry in entries] for part, entries in parts.items()}
    # Of instructions the fingerprint is as old as the studies that have it.
    of_kind = () if kind == "instruction" else (kind, chat and chat.text)
    salt = (tokenizer_hash(tokenizer), *of_kind)
    keys = {part: digest([*salt, *found]) for part, found in records.items()}
    encode = encoder(kind, tokenizer, chat)
    try:
        tokens = {
            part: tokenise(found, encode, cache, _cached_as(keys[part], chat))
            for part, found in records.items()
        }
    except Refused as error:
        raise _refused(error, parts, encode) from None
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    make: Any = preferences_of if preferences else samples_of
    per_row = 2 if preferences else 1
    return Corpus(
        make(tokens["train"], data, masks, "train"),
        make(tokens["validation"], data, masks, "validation"),
        pad_id,
        digest([*keys.values(), data.max_length, masks])[:16],
        (
            *notes.of_rows(read, data, masks),
            *notes.of_split(len(parts["validation"]), data),
            *notes.of_records(**{part: once(entries) for part, entries in parts.items()}),
            *notes.of_lengths(tokens, data, masks, per_row=per_row),
            *notes.of_tokenizer(tokenizer, read["train"], data, chat),
        ),
        asked_in(tokens["validation"], data, per_row, MOST_ASKED),
        tokenizer.eos_token_id if chat is None else chat.end,
        is_chat=chat is not None,
    )


def way_of_asking(data: DataSettings) -> str:
    """How what learned from the data is asked: "instruction", "chat" or "text".

    The rows say it; where they are gone, the settings do.
    """
    try:
        rows = load_rows(sources_of(data.train)[0], data, split="train", preferences=True)
    except UserError:
        form: str = data.format
        is_chat = data.template == "chat" or data.chat_template is not None
    else:
        form, is_chat = rows.layout.form, rows.is_chat
    if is_chat or form in ("messages", "conversations"):
        return "chat"
    return "instruction" if form in ("auto", "instruction") else "text"


def _read(data: DataSettings, preferences: bool) -> dict[str, list[Rows]]:
    """Of "train", and of "validation" where it has sources of its own."""
    given = {"train": data.train, "validation": data.validation}
    return {
        part: [
            load_rows(source, data, split=part, preferences=preferences)
            for source in sources_of(sources)
        ]
        for part, sources in given.items()
        if sources is not None
    }


def _kind(read: dict[str, list[Rows]], data: DataSettings, preferences: bool) -> str:
    """The one form of all records."""
    everything = [rows for part in read.values() for rows in part]
    first, way = everything[0], _way(everything[0], data)
    for rows in everything:
        other = _way(rows, data)
        if (rows.layout.form == "preference") != preferences:
            raise UserError(_other_training(rows, preferences))
        if other != way:
            raise UserError(
                f"{first.source} has rows of {_form(first)} and {rows.source} of {_form(rows)}, "
                "which are learned otherwise; take sources of one format"
                + _common_form({way, other}, data)
            )
    return kind_of_records(first)


def _way(rows: Rows, data: DataSettings) -> str:
    """The kind of its records, and of one kind: which are learned whole, and which are chats."""
    if rows.layout.form == "preference":
        return _form(rows)
    is_whole = rows.layout.form == "text" and data.mask_prompt is not False
    return "text" if is_whole else kind_of_records(rows)


def _form(rows: Rows) -> str:
    turns = rows.is_chat and rows.layout.form in ("completion", "preference")
    return rows.layout.form + (" in turns" if turns else "")


def _common_form(ways: set[str], data: DataSettings) -> str:
    if data.template == "chat":
        return ""
    chat = ', or set `[data] template` = "chat", which makes chats of '
    if ways == {"instruction", "chat"}:
        return f"{chat}instructions"
    texts = ({"completion", "answer"}, {"preference", "preference in turns"})
    return f"{chat}texts" if ways in texts else ""


def _other_training(rows: Rows, preferences: bool) -> str:
    if preferences:
        return (
            f"{rows.source}: its rows are of {rows.layout.form}, and `[training] method` = "
            '"dpo" learns from preferences; give rows with prompt, chosen and rejected, or '
            'set method = "sft"'
        )
    return (
        f"{rows.source}: its rows are preferences (prompt, chosen, rejected), from which "
        '`[training] method` = "dpo" learns; set that, or name the answers to learn with '
        '`[data] fields` = {prompt = "prompt", completion = "chosen"}'
    )


def _check_used(data: DataSettings, read: Sequence[Rows]) -> None:
    for rows in read:
        for key, rule, way_out in data.unused(rows.layout.form, rows.is_chat):
            raise UserError(f"`[data] {key}` = {getattr(data, key)!r:.60}: {rule}; {way_out}")


def _masks(data: DataSettings, rows: Rows, kind: str) -> bool:
    """Whether answers alone count."""
    if rows.layout.form == "text":
        return False
    return kind != "instruction" if data.mask_prompt is None else data.mask_prompt


def _chat_template(
    data: DataSettings, tokenizer: PreTrainedTokenizerBase, rows: Rows
) -> ChatTemplate | None:
    return ChatTemplate(tokenizer, data.chat_template) if rows.is_chat else None


def _cached_as(key: str, chat: ChatTemplate | None) -> str:
    """The name of tokens on the disk: a template's own day must not be in them."""
    if chat is None or chat.of_one_day == chat.text:
        return key
    return digest([key, chat.of_one_day])


def _refused(error: Refused, parts: dict[str, list[Entry]], encode: Encode) -> UserError:
    """The first row that cannot be written out, and how many of the first rows cannot."""
    everything = [entry for entries in parts.values() for entry in entries]
    first = next(e for e in everything if e.record == error.record)
    source, number = first.place
    tried = [entry.record for entry in everything[:TRIED]]
    count = sum(not _is_taken(record, encode) for record in tried)
    more = f"; {count} of the first {len(tried)} rows are refused" if count > 1 else ""
    return UserError(f"{source}, row {number}: {error}{more}")


def _is_taken(record: tuple[str, str] | str, encode: Encode) -> bool:
    try:
        encode([record])
    except Refused:
        return False
    return True
