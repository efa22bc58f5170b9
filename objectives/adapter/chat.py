"""Answers prompts from the terminal, written out as the training's rows were."""

from __future__ import annotations

from collections.abc import Iterator
import json
import sys
from typing import Any

from peft import PeftModel
import torch
from transformers import PreTrainedTokenizerBase

from objectives.adapter.found import Adapter
from objectives.adapter.merge import tokenizer_of
from objectives.data.chat import ChatTemplate
from objectives.data.templates import prompt
from objectives.errors import UserError
from objectives.model.answers import answer
from objectives.model.architecture import quiet_peft
from objectives.model.base import load_whole
from objectives.settings.sections.data import columns_in


__all__ = ["chat", "text_of"]


def chat(adapter: Adapter, given: str | None, *, with_base: bool, tokens: int) -> None:
    """Prints an answer for each prompt; each is answered by itself.

    Args:
        adapter: On disk.
        given: A prompt; None reads lines from stdin until it ends.
        with_base: Whether the base answers as well.
        tokens: Of an answer, at most.

    Raises:
        UserError: A prompt that is given does not fit the template, or the base is not there.
    """
    if tokens < 1:
        raise UserError(f"--tokens {tokens}: must be >= 1; for example --tokens 64")
    tokenizer = tokenizer_of(adapter)
    if given is not None:
        text_of(adapter, tokenizer, given)  # a mistake shows before gigabytes are loaded
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_whole(adapter.model, device, as_stored=True)
    with quiet_peft():
        model = PeftModel.from_pretrained(base, str(adapter.folder))
    end = ChatTemplate(tokenizer, None).end if _is_chat(adapter) else tokenizer.eos_token_id
    for typed in _typed() if given is None else [given]:
        try:
            ids = _ids(adapter, tokenizer, typed)
        except UserError as error:
            if given is not None:
                raise
            print(f"error: {error}", file=sys.stderr)
            continue
        told = answer(model, tokenizer, ids, tokens, end)
        if with_base:
            with model.disable_adapter():
                print(f"base    {answer(model, tokenizer, ids, tokens, end)}")
            told = f"tuned   {told}"
        print(told, flush=True)


def _typed() -> Iterator[str]:
    """Lines of stdin; of a terminal with a mark that it is one's turn."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def _ids(adapter: Adapter, tokenizer: PreTrainedTokenizerBase, typed: str) -> list[int]:
    """A chat template writes its own BOS."""
    text, is_chat = text_of(adapter, tokenizer, typed)
    ids: list[int] = tokenizer(text, add_special_tokens=not is_chat)["input_ids"]
    return ids


def text_of(adapter: Adapter, tokenizer: PreTrainedTokenizerBase, typed: str) -> tuple[str, bool]:
    """All that stands before the answer, and whether a chat template has written it.

    Raises:
        UserError: It does not say what the template needs.
    """
    if _is_chat(adapter):
        turns = [{"role": "user", "content": typed}]
        if adapter.data.system is not None:
            turns.insert(0, {"role": "system", "content": adapter.data.system})
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return str(text), True
    if adapter.way == "text":
        return typed, False
    return prompt(_columns(adapter.data.template, typed), adapter.data.template).rstrip(), False


def _is_chat(adapter: Adapter) -> bool:
    return adapter.way == "chat" or (adapter.way is None and adapter.data.template == "chat")


def _columns(template: str, typed: str) -> dict[str, str]:
    """What a template's columns hold: a JSON object names them, a text is the only one."""
    names = ["instruction", "input"] if template == "alpaca" else columns_in(template)
    found = _json_object(typed)
    if found is not None and found.keys() <= set(names):
        return {name: str(found.get(name, "")) for name in names}
    if len(names) == 1 or "instruction" in names:
        asked = "instruction" if "instruction" in names else names[0]
        return {name: typed if name == asked else "" for name in names}
    example = json.dumps({name: "..." for name in names})
    raise UserError(
        f"{typed!r:.60}: the template has {len(names)} columns; write them as {example}"
    )


def _json_object(typed: str) -> dict[str, Any] | None:
    try:
        found = json.loads(typed)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
