"""Rows -> records: what is tokenised, in one of five forms whatever the data looked like.

    instruction   (prompt, answer)           texts; cut where lm-eval cuts them
    completion    (prompt, completion)       texts; of a text the prompt is empty
    chat          {"turns": [...]}           JSON; each turn of the assistant's is an answer
    answer        {"prompt": [...], "completion": [...]}         JSON; all behind the prompt is
    preference    {"prompt": ..., "chosen": ..., "rejected": ...}   JSON; texts or turns

JSON, since records are compared, hashed and shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
from typing import Any

from objectives.data.reading.rows import Row
from objectives.data.reading.rows import Rows
from objectives.data.reading.turns import Turn
from objectives.data.reading.turns import with_system
from objectives.data.templates import prompt
from objectives.settings.sections.data import DataSettings


__all__ = ["Record", "kind_of_records", "records_of"]

Record = tuple[str, str] | str


def kind_of_records(rows: Rows) -> str:
    """Which of the forms."""
    match rows.layout.form:
        case "preference":
            return "preference"
        case "completion" if rows.is_chat:
            return "answer"
        case _ if rows.is_chat:
            return "chat"
        case "text":
            return "completion"
    return rows.layout.form


def records_of(rows: Rows, data: DataSettings) -> list[Record]:
    """One for each row."""
    match kind_of_records(rows):
        case "instruction":
            return [(prompt(row, data.template), row["output"]) for row in rows.rows]
        case "completion":
            return [_texts(row) for row in rows.rows]
        case "chat":
            return [_json(_chat(row, data.system)) for row in rows.rows]
        case "answer":
            return [_json(_answer(row, data.system)) for row in rows.rows]
    return [_json(_preference(row, rows.is_chat, data.system)) for row in rows.rows]


def _texts(row: Row) -> tuple[str, str]:
    return ("", row["text"]) if "text" in row else (row["prompt"], row["completion"])


def _chat(row: Row, system: str | None) -> dict[str, Any]:
    system = row.get("system") or system
    turns = row.get("messages", row.get("conversations"))
    if turns is None:
        asked = "\n\n".join(filter(None, (row["instruction"], row["input"])))
        turns = [_turn("user", asked), _turn("assistant", row["output"])]
    tools = {"tools": row["tools"]} if "tools" in row else {}
    return {"turns": with_system(turns, system), **tools}


def _answer(row: Row, system: str | None) -> dict[str, Any]:
    return {
        "prompt": with_system(_turns(row["prompt"], "user"), row.get("system") or system),
        "completion": _turns(row["completion"], "assistant"),
    }


def _preference(row: Row, is_chat: bool, system: str | None) -> dict[str, Any]:
    chosen, rejected = row["chosen"], row["rejected"]
    asked = row.get("prompt")
    if asked is None or (isinstance(chosen, list) and isinstance(asked, str)):
        common = _common(chosen, rejected)
        if common or asked is None:
            asked, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    if is_chat:
        asked = with_system(_turns(asked, "user"), row.get("system") or system)
        chosen, rejected = _turns(chosen, "assistant"), _turns(rejected, "assistant")
    return {"prompt": asked, "chosen": chosen, "rejected": rejected}


def _common(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """How much of two answers is their common prompt; as TRL's `extract_prompt` has it."""
    pairs = enumerate(zip(chosen, rejected, strict=False))
    n = next((i for i, (a, b) in pairs if a != b), min(len(chosen), len(rejected)) - 1)
    return n - 1 if n > 0 and chosen[n - 1] == " " else n


def _turns(value: Any, role: str) -> list[Turn]:
    return value if isinstance(value, list) else [_turn(role, value)]


def _turn(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)
