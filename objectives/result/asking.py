"""How the model card says that an adapter is asked: as its training rows were written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
import re

from objectives.data.templates import prompt
from objectives.settings.sections.data import columns_in
from objectives.settings.sections.data import DataSettings


__all__ = ["Asking", "asking", "literal"]

QUESTION = "Name the three primary colours."
EXAMPLES = {"instruction": QUESTION, "input": "Write one a line."}


@dataclass(frozen=True)
class Asking:
    """What the card has of it.

    Attributes:
        prompts: Markdown of what stands before the answer.
        variables: Lines of Python that the reader sets.
        text: A Python expression of them, of all that stands before the answer.
        begins: Whether the tokenizer is to put its BOS in front of that.
    """

    prompts: str
    variables: Sequence[str]
    text: str
    begins: bool = True


def asking(data: DataSettings, way: str) -> Asking:
    """How to ask.

    Args:
        data: The experiment's.
        way: "instruction", "chat" or "text", as `way_of_asking` has it.
    """
    if way == "chat":
        return _by_chat(data)
    if way == "text":
        told = "The prompt is a text as it is: nothing is written around it."
        return Asking(told, [f"PROMPT = {literal(QUESTION)}"], "PROMPT")
    return _by_template(data)


def _by_chat(data: DataSettings) -> Asking:
    told = "The chat template of this folder's tokenizer writes the turns out."
    turns = [{"role": "user", "content": QUESTION}]
    if data.system is not None:
        told += f" The system turn:\n\n{_fenced(data.system)}"
        turns.insert(0, {"role": "system", "content": data.system})
    text = "tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)"
    listed = "".join(f"    {json.dumps(turn, ensure_ascii=False)},\n" for turn in turns)
    return Asking(told, [f"TURNS = [\n{listed}]"], text, begins=False)


def _by_template(data: DataSettings) -> Asking:
    templates = _templates(data)
    names = columns_in(templates[0])
    variables = [f"{_variable(name)} = {literal(EXAMPLES.get(name, '...'))}" for name in names]
    filled = "".join(f'.replace("{{{name}}}", {_variable(name)})' for name in names)
    return Asking(
        "\n\nWith an input:\n\n".join(map(_fenced, templates)),
        [f"PROMPT = {literal(templates[0].rstrip())}", *variables],
        f"PROMPT{filled}",
    )


def _variable(column: str) -> str:
    name = column.upper()
    taken = name in ("ADAPTER", "BASE", "PROMPT") or not name.isidentifier()
    return f"COLUMN_{name}" if taken else name


def _templates(data: DataSettings) -> list[str]:
    """What stands before the answer; of Alpaca's two the one without an input first."""
    if data.own_template:
        return [data.template]
    fields = {"instruction": "{instruction}", "input": "{input}"}
    return [prompt(fields | {"input": ""}, "alpaca"), prompt(fields, "alpaca")]


def _fenced(text: str) -> str:
    """A block of Markdown, also of text that has such blocks."""
    ticks = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def literal(text: str) -> str:
    """As Python has it: what JSON escapes, Python reads alike."""
    return json.dumps(text, ensure_ascii=False)
