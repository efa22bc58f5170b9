"""A line with a count tells of each thing that is odd about chats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rows_of_text import ANSWER
from rows_of_text import CHAT
from rows_of_text import corpus_of
from rows_of_text import MESSAGES
from rows_of_text import USER
from transformers import PreTrainedTokenizerFast

from objectives.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


ODD: dict[str, tuple[list[Any], str]] = {
    "no answer": (
        [{"messages": [USER]}],
        "data: 1 of 3 train rows have no turn of the assistant's, from which nothing can be "
        "learned; they are left out",
    ),
    "an unknown role": (
        [{"messages": [{"role": "narrator", "content": "a"}, ANSWER]}],
        "data: 1 of 3 train rows have turns of a role that is not known (narrator); they are left "
        "out",
    ),
    "a question at the end": (
        [{"messages": [USER, ANSWER, USER]}],
        "data: 1 of 3 train rows end with a turn that has no answer, and is not learned from",
    ),
    "an empty answer": (
        [{"messages": [USER, {"role": "assistant", "content": " "}]}],
        "data: 1 of 3 train rows have an empty turn of the assistant's, which teaches or tests to "
        "answer nothing; delete them if that is not meant",
    ),
    "nothing": ([{"messages": []}], "data: 1 of 3 train rows are empty, and left out"),
    "another column": (
        [MESSAGES | {"source": "web"}],
        "data: beside messages the rows have source, which is not read; name what matters in "
        "[data] fields or template",
    ),
}


@pytest.mark.parametrize(("rows", "note"), ODD.values(), ids=ODD.keys())
def test_a_line_tells_of_what_is_odd(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast, rows: list[Any], note: str
) -> None:
    other = {"messages": [USER | {"content": "Name a song."}, ANSWER]}
    plain = corpus_of(file, [MESSAGES, other], tiny_tokenizer, chat_template=CHAT)
    corpus = corpus_of(file, [MESSAGES, other, *rows], tiny_tokenizer, chat_template=CHAT)
    assert note in corpus.notes and note not in plain.notes


def test_a_line_tells_of_answers_that_are_cut_off(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = [{"messages": [USER, ANSWER] * 3}, MESSAGES]
    whole = corpus_of(file, rows, tiny_tokenizer, chat_template=CHAT)
    longest = max(map(len, whole.train))
    half = longest // 2
    notes = corpus_of(file, rows, tiny_tokenizer, chat_template=CHAT, max_length=half).notes
    assert (
        f"[data] max_length = {half}: cuts off the end of 1 of 2 train rows, and with it 2 whole "
        f"answers; raise it (the longest has {longest} tokens)"
    ) in notes


def test_a_line_tells_of_a_template_that_never_stops(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    endless = CHAT.replace("{{ eos_token }}", "")
    notes = corpus_of(file, [MESSAGES], tiny_tokenizer, chat_template=endless).notes
    assert any("ends the assistant's turns without a special token" in line for line in notes)
    notes = corpus_of(file, [MESSAGES], tiny_tokenizer, chat_template=CHAT).notes
    assert not any("chat template" in line for line in notes)


def test_a_line_tells_of_calls_that_the_template_leaves_out(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    call = {"type": "function", "function": {"name": "list_rivers", "arguments": {}}}
    rows = [{"messages": [USER, {"role": "assistant", "tool_calls": [call]}, USER, ANSWER]}]
    notes = corpus_of(file, rows, tiny_tokenizer, chat_template=CHAT).notes
    assert any("leaves out words of 1 of the first 1 train rows" in line for line in notes)


def test_a_template_that_wants_a_system_turn_takes_rows_that_have_one(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    strict = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
    rows = [{"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]}]
    corpus = corpus_of(file, rows, tiny_tokenizer, chat_template=strict + CHAT)
    plain = corpus_of(file, rows, tiny_tokenizer, chat_template=CHAT)
    assert corpus.train == plain.train and corpus.notes == plain.notes


def test_a_template_that_is_no_jinja_is_the_mistake_of_no_row(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    broken = CHAT.replace("{% endfor %}", "")
    with pytest.raises(UserError, match=r"^`\[data\] chat_template`: is no valid Jinja \(line "):
        corpus_of(file, [MESSAGES], tiny_tokenizer, chat_template=broken)
