"""What becomes of chats where nobody would see it: a line for each; see `notes`."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from objectives.data.chat import ChatTemplate
from objectives.data.chat import NotWritten
from objectives.data.reading.rows import Row
from objectives.data.reading.rows import Rows
from objectives.data.reading.turns import Turn
from objectives.settings.sections.data import DataSettings


__all__ = ["of_chat", "of_turns"]

LOOKED_AT = 1000  # rows whose words are searched for in what the template makes of them


def of_turns(rows: Sequence[Row], data: DataSettings, part: str) -> Iterator[str]:
    """Conversations that end without an answer, answers without a word, system turns.

    Args:
        rows: Of any format.
        data: With a system prompt, perhaps.
        part: "train" or "validation".
    """
    chats = [turns for row in rows if (turns := _conversation(row))]
    of = f"of {len(rows)} {part} rows"
    if n := sum(turns[-1]["role"] != "assistant" for turns in chats):
        yield f"data: {n} {of} end with a turn that has no answer, and is not learned from"
    if n := sum(any(map(_says_nothing, turns)) for turns in chats):
        yield (
            f"data: {n} {of} have an empty turn of the assistant's, which teaches or tests to "
            "answer nothing; delete them if that is not meant"
        )
    if data.system is not None and (n := sum(map(_has_system, rows))):
        yield f"data: {n} {of} have a system turn of their own, which they keep: not [data] system"


def _conversation(row: Row) -> list[Turn]:
    turns: list[Turn] = row.get("messages") or row.get("conversations") or []
    return turns


def _says_nothing(turn: Turn) -> bool:
    return turn["role"] == "assistant" and not turn["content"].strip() and "tool_calls" not in turn


def _has_system(row: Row) -> bool:
    turns = [turn for value in row.values() if isinstance(value, list) for turn in value]
    return bool(row.get("system")) or any(_is_system(turn) for turn in turns)


def _is_system(turn: object) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ("system", "developer")


def of_chat(train: Sequence[Rows], chat: ChatTemplate) -> Iterator[str]:
    """What a chat template leaves out of conversations, and whether it says where a turn ends.

    Args:
        train: The rows.
        chat: The template.
    """
    turns = [found for rows in train for row in rows.rows if (found := _conversation(row))]
    looked_at = turns[:LOOKED_AT]
    if n := sum(_leaves_out(chat, each) for each in looked_at):
        yield (
            f"data: the chat template leaves out words of {n} of the first {len(looked_at)} train "
            "rows, such as turns of a role, calls of tools or thoughts; give a chat_template that "
            "has them"
        )
    if not chat.asks:
        yield (
            "data: the chat template writes nothing where a turn is asked for "
            "(add_generation_prompt), so that the heading of the assistant's turns is learned, "
            "too; give a chat_template that does"
        )
    if chat.end is None:
        yield (
            "data: the chat template ends the assistant's turns without a special token that is "
            "learned, so that the model may not stop; write {{ eos_token }} behind them"
        )


def _leaves_out(chat: ChatTemplate, turns: Sequence[Turn]) -> bool:
    try:
        text = chat.text_of(turns)
    except NotWritten:
        return False
    said = [turn["content"].strip() for turn in turns]
    called = [name for turn in turns for name in _called(turn)]
    return any(words not in text for words in [*said, *called])


def _called(turn: Turn) -> list[str]:
    """The names of the tools that a turn calls, as OpenAI's data have them."""
    calls = turn.get("tool_calls") or []
    functions = [call.get("function", call) for call in calls if isinstance(call, dict)]
    return [str(f["name"]) for f in functions if isinstance(f, dict) and "name" in f]
