"""Lists of messages, as OpenAI's and ShareGPT's data have them -> turns for a chat template."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

from objectives.errors import UserError


__all__ = ["ROLES", "Turn", "is_turns", "turns_of", "with_system"]

Turn = dict[str, Any]

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model", "function_call"), "assistant"),
    **dict.fromkeys(("function", "function_response", "observation", "ipython"), "tool"),
}
"""What data calls a speaker, and what chat templates do."""


def is_turns(value: object) -> bool:
    """Whether a value is a list of messages, perhaps as the text of one."""
    return isinstance(value, list) or (isinstance(value, str) and _parsed(value) is not value)


def turns_of(value: object, where: str, column: str) -> list[Turn]:
    """The messages of a row.

    Args:
        value: A list, or its text, as tables have it.
        where: The row, for messages.
        column: The column, for messages.

    Returns:
        Turns with `role` and `content`; what else they have stays. A role that is not known stays
        as it is.

    Raises:
        UserError: They are no messages.
    """
    found = _parsed(value)
    if not isinstance(found, list):
        raise UserError(
            f"{where}: `{column}` = {value!r:.60} must be a list of messages; for example "
            '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'
        )
    return [_turn(each, f"{where}: message {i} of `{column}`") for i, each in enumerate(found, 1)]


def _parsed(value: object) -> object:
    if not isinstance(value, str) or not value.lstrip().startswith("[{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _turn(message: object, where: str) -> Turn:
    told = message if isinstance(message, Mapping) else {}
    turn = {key: value for key, value in told.items() if value is not None}
    for ours, theirs in (("role", "from"), ("content", "value")):
        if ours not in turn and theirs in turn:
            turn[ours] = turn.pop(theirs)
    if "content" not in turn and "tool_calls" in turn:
        turn["content"] = ""
    if not isinstance(turn.get("role"), str) or "content" not in turn:
        found = ", ".join(told) if told else repr(message)[:60]
        raise UserError(
            f"{where} must have `role` and `content`, or `from` and `value` (it has {found}); "
            "complete it or rename them"
        )
    role = turn["role"].strip()
    return turn | {"role": ROLES.get(role.lower(), role), "content": _text(turn["content"], where)}


def _text(content: object, where: str) -> str:
    """OpenAI's content may be a list of parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{where}: its content {content!r:.60} must be text; leave out images and the like"
        )
    text = "".join(map(str, texts))
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"{where} holds half a surrogate pair; remove it")
    return text


def with_system(turns: Sequence[Turn], system: str | None) -> list[Turn]:
    """The turns behind a system turn, unless they have one or there is none to add."""
    if not system or any(turn["role"] in ("system", "developer") for turn in turns):
        return list(turns)
    return [{"role": "system", "content": system}, *turns]
