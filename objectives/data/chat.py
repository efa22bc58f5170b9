"""Turns -> text and tokens by a chat template, and which of them are the assistant's.

A template with `{% generation %}` marks says itself what the assistant's is. Of one without, the
turns before each of the assistant's are written out, up to where it begins to speak, and those up
to its end. Both must be what the whole text begins with; else it cannot be told.

A template that asks for the day, as Llama 3.2's does, is told always the same one: else a study
that goes on tomorrow would learn from other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
import re
from typing import Any

from jinja2 import TemplateError
from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from objectives.data.reading.turns import Turn
from objectives.errors import UserError


__all__ = ["ChatTemplate", "NotWritten"]

DAY = datetime(2024, 7, 26)  # the one that Llama 3.2's template takes where there is no clock
DAY_ASKED = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


class NotWritten(Exception):
    """A chat template does not take a conversation; the text says why and the way out."""


class ChatTemplate:
    """A tokenizer's chat template, or one in its place."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str | None) -> None:
        """Checks that there is one.

        Args:
            tokenizer: The base's.
            text: Jinja; None takes the tokenizer's.

        Raises:
            UserError: There is none, or it is no Jinja.
        """
        if text is None and not tokenizer.chat_template:
            raise UserError(
                "the tokenizer has no chat template, which the rows of [data] need; give one with "
                '`[data] chat_template` = "file.jinja", of a model tuned on chats for example'
            )
        self._tokenizer = tokenizer
        self.text: str = tokenizer.get_chat_template(chat_template=text)
        self.of_one_day = DAY_ASKED.sub(lambda asked: repr(DAY.strftime(asked[2])), self.text)
        self._marked = MARKS.search(self.text) is not None
        self._check_syntax(
            "the tokenizer's chat template" if text is None else "`[data] chat_template`"
        )

    def _check_syntax(self, name: str) -> None:
        try:
            self.text_of([{"role": "user", "content": "a"}])
        except NotWritten as refused:  # by the template itself, perhaps: rows may be of others
            if isinstance(error := refused.__context__, TemplateSyntaxError):
                raise UserError(
                    f"{name}: is no valid Jinja (line {error.lineno}: {error.message}); correct it"
                ) from None

    def text_of(self, turns: Sequence[Turn], tools: Any = None, *, is_prompt: bool = False) -> str:
        """The turns written out.

        Args:
            turns: At least one.
            tools: Which the template is told of.
            is_prompt: Whether the assistant is to begin to speak at the end.

        Raises:
            NotWritten: The template does not take them.
        """
        text = self._apply(turns, tools=tools, tokenize=False, add_generation_prompt=is_prompt)
        assert isinstance(text, str)
        return text

    def ids_of(self, turns: Sequence[Turn], *, is_prompt: bool = False) -> list[int]:
        """The tokens of `text_of`: a template writes BOS itself, if it is to be there."""
        text = self.text_of(turns, is_prompt=is_prompt)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return ids

    def answers_in(self, turns: Sequence[Turn], tools: Any = None) -> tuple[list[int], list[bool]]:
        """The tokens of `ids_of`, and for each whether it is the assistant's.

        Raises:
            NotWritten: The template does not take them, or does not tell.
        """
        if not self._tokenizer.is_fast:
            raise NotWritten(
                "is for a tokenizer in Python, which does not say where its tokens begin in the "
                "text, so that the assistant's cannot be told; take a base with a tokenizer.json, "
                "or rows of `prompt` and `completion`"
            )
        if self._marked and not any(turn.get("weight", 1) == 0 for turn in turns):
            found = self._apply(
                turns, tools=tools, return_dict=True, return_assistant_tokens_mask=True
            )
            return list(found["input_ids"]), [bool(n) for n in found["assistant_masks"]]
        text = self.text_of(turns, tools)
        encoded = self._tokenizer(text, add_special_tokens=False, verbose=False)
        mask = [False] * len(encoded["input_ids"])
        for begin, end in self._spans(turns, tools, text):
            # As transformers has it of marks: a token that begins in the span is its.
            first, last = encoded.char_to_token(begin), encoded.char_to_token(end - 1)
            if first is not None:
                stop = len(mask) if last is None else last + 1
                mask[first:stop] = [True] * (stop - first)
        return list(encoded["input_ids"]), mask

    def _spans(self, turns: Sequence[Turn], tools: Any, text: str) -> list[tuple[int, int]]:
        """Where in the text the assistant's turns begin, behind their heading, and end."""
        spans = []
        for i, turn in enumerate(turns):
            if turn["role"] == "assistant" and turn.get("weight", 1) != 0:  # OpenAI's word
                before = self._before(turns[:i], tools, text)
                whole = text if i + 1 == len(turns) else self.text_of(turns[: i + 1], tools)
                if not (text.startswith(before) and text.startswith(whole)):
                    raise NotWritten(
                        "is written out otherwise alone than with the turns behind it, so that it "
                        "cannot be told which words are the assistant's; give a chat_template "
                        "with {% generation %} and {% endgeneration %} around its words (TRL has "
                        "such ones in its folder chat_templates, with names that end in _training)"
                    )
                if len(before) < len(whole):
                    spans.append((len(before), len(whole)))
        return spans

    def _before(self, turns: Sequence[Turn], tools: Any, text: str) -> str:
        if turns:
            return self.text_of(turns, tools, is_prompt=True)
        # Nothing stands before a conversation that the assistant begins, but the heading.
        user = [{"role": "user", "content": "a"}]
        heading = self.text_of(user, tools, is_prompt=True)[len(self.text_of(user, tools)) :]
        begin, found, _ = text.partition(heading) if heading else ("", "", text)
        return begin + found

    @property
    def asks(self) -> bool:
        """Whether it says by marks, or by a heading, where the assistant's words begin.

        So it is taken to do where it refuses a turn of the user's alone.
        """
        if self._marked:
            return True
        user = [{"role": "user", "content": "a"}]
        try:
            return self.text_of(user, is_prompt=True) != self.text_of(user)
        except NotWritten:
            return True

    @property
    def end(self) -> int | None:
        """The special token that is learned as the end of the assistant's turns, if one is.

        As TRL looks at it, with a turn behind the assistant's. EOS, where such turns are refused.
        """
        turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
        tokenizer = self._tokenizer
        try:
            ids, answers = self.answers_in(turns)
        except NotWritten:
            return int(tokenizer.eos_token_id)
        learned = [i for i, answer in zip(ids, answers, strict=True) if answer]
        words = [tokenizer.eos_token_id, *(i for i in learned if tokenizer.decode([i]).strip())]
        special = {*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids}
        return int(words[-1]) if words[-1] in special else None

    def _apply(self, turns: Sequence[Turn], **options: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(
                list(turns), chat_template=self.of_one_day, **options
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise NotWritten(
                f"is refused by the chat template ({told}); change the row, or give another "
                "chat_template"
            ) from None
