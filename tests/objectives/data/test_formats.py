"""Which format rows have, by their columns or the user's word, and what becomes of them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rows_of_text import ANSWER
from rows_of_text import CHAT
from rows_of_text import corpus_of
from rows_of_text import MESSAGES
from rows_of_text import ROW
from rows_of_text import USER
from rows_of_text import write_rows
from transformers import ByT5Tokenizer
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Corpus
from objectives.data.corpus import Sample
from objectives.data.load import load_corpus
from objectives.data.load import way_of_asking
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings


PREFERENCE = {"prompt": "Name a river:", "chosen": " Rhine", "rejected": " apple"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def read(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """The first sample's text, and the part of it that counts."""
    sample = corpus.train[0]
    assert isinstance(sample, Sample)
    learned = [label for label in sample.labels if label != -100]
    return tokenizer.decode(sample.input_ids), tokenizer.decode(learned)


def refusal(file: Path, rows: list[Any], tokenizer: PreTrainedTokenizerFast, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        corpus_of(file, rows, tokenizer, **more)
    return str(caught.value).removeprefix(f"{file}").lstrip(":, ")


FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "text": ({"text": "Rhine"}, {}, "<s>Rhine</s>", "<s>Rhine</s>"),
    "completion": (
        {"prompt": "River:", "completion": " Rhine"},
        {},
        "<s>River: Rhine</s>",
        " Rhine</s>",
    ),
    "all of a completion": (
        {"prompt": "River:", "completion": " Rhine"},
        {"mask_prompt": False},
        "<s>River: Rhine</s>",
        "<s>River: Rhine</s>",
    ),
    "messages": (
        MESSAGES,
        {"chat_template": CHAT},
        "<s>[user] Name a river.\n[assistant] Rhine</s>\n",
        "Rhine</s>\n",
    ),
    "a system turn for those without": (
        MESSAGES,
        {"chat_template": CHAT, "system": "Be brief."},
        "<s>[system] Be brief.\n[user] Name a river.\n[assistant] Rhine</s>\n",
        "Rhine</s>\n",
    ),
    "a system turn of its own": (
        {"messages": [{"role": "system", "content": "Sing."}, USER, ANSWER]},
        {"chat_template": CHAT, "system": "Be brief."},
        "<s>[system] Sing.\n[user] Name a river.\n[assistant] Rhine</s>\n",
        "Rhine</s>\n",
    ),
    "an instruction as a chat": (
        ROW | {"input": "In Europe."},
        {"chat_template": CHAT, "template": "chat", "mask_prompt": True},
        "<s>[user] Name the river.\n\nIn Europe.\n[assistant] Rhine</s>\n",
        "Rhine</s>\n",
    ),
    "columns of an own template": (
        {"question": "Which river?", "hint": "Bonn", "answer": "Rhine"},
        {"template": "{question} ({hint})", "fields": {"output": "answer"}, "mask_prompt": True},
        "<s>Which river? (Bonn)Rhine</s>",
        "Rhine</s>",
    ),
    "named columns": (
        {"q": "Which river?", "a": "Rhine"},
        {"fields": {"instruction": "q", "output": "a"}, "template": "{instruction}\n"},
        "<s>Which river?\nRhine</s>",
        "<s>Which river?\nRhine</s>",
    ),
    "the better answer alone": (
        PREFERENCE,
        {"fields": {"prompt": "prompt", "completion": "chosen"}},
        "<s>Name a river: Rhine</s>",
        " Rhine</s>",
    ),
}


@pytest.mark.parametrize(
    ("row", "settings", "text", "learned"), FORMATS.values(), ids=FORMATS.keys()
)
def test_what_is_read_and_what_is_learned(
    file: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    row: dict[str, Any],
    settings: dict[str, Any],
    text: str,
    learned: str,
) -> None:
    corpus = corpus_of(file, [row], tiny_tokenizer, **settings)
    assert read(corpus, tiny_tokenizer) == (text, learned)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("question", "answer"), ("query", "response"), ("prompt", "response")],
)
def test_known_pairs_are_instructions(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast, asked: str, answered: str
) -> None:
    plain = corpus_of(file, [ROW], tiny_tokenizer)
    renamed = {asked: ROW["instruction"], answered: ROW["output"]}
    corpus = corpus_of(file, [renamed], tiny_tokenizer)
    assert (corpus.train, corpus.fingerprint) == (plain.train, plain.fingerprint)
    note = f"data: the rows' {asked} and {answered} are read as instruction and output; "
    assert any(line.startswith(note) for line in corpus.notes)


def test_a_format_named_is_the_format_seen(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    seen = corpus_of(file, [ROW], tiny_tokenizer)
    assert corpus_of(file, [ROW], tiny_tokenizer, format="instruction") == seen


AMBIGUOUS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two formats": (
        MESSAGES | PREFERENCE,
        {"chat_template": CHAT},
        "its rows can be read as messages and as preference (they have messages, prompt, chosen, "
        'rejected); say which with `[data] format` = "messages"',
    ),
    "a text and a pair": (
        {"text": "a", "question": "b", "answer": "c"},
        {},
        "its rows can be read as instruction and as text (they have text, question, answer); say "
        'which with `[data] format` = "instruction"',
    ),
    "no format": (
        {"title": "a", "body": "b"},
        {},
        "its columns title, body are of no format (instruction: instruction, output; messages: "
        "messages; conversations: conversations; completion: prompt, completion; text: text; "
        "preference: chosen, rejected); say which is which with `[data] fields`, for example "
        'fields = {instruction = "...", output = "..."}',
    ),
    "a pair without its other half": (
        {"prompt": "a", "chosen": "b"},
        {"preferences": True},
        "its columns prompt, chosen are of no format (preference: chosen, rejected); say which is "
        'which with `[data] fields`, for example fields = {chosen = "...", rejected = "..."}',
    ),
    "a column that is not there": (
        ROW,
        {"fields": {"instruction": "question"}},
        '`[data] fields` = {instruction = "question"}: FILE has no such column (it has '
        "instruction, input, output); name one of these",
    ),
    "a template's column that is not there": (
        ROW,
        {"template": "{instruction} {hint}"},
        "`[data] template` names {hint}, and FILE has no such column (it has instruction, input, "
        "output); name one of these",
    ),
    "no chat template": (
        MESSAGES,
        {},
        "the tokenizer has no chat template, which the rows of [data] need; give one with "
        '`[data] chat_template` = "file.jinja", of a model tuned on chats for example',
    ),
    "a system turn of texts": (
        ROW,
        {"system": "Be brief."},
        "`[data] system` = 'Be brief.': is for chats, and rows of instruction are written out as "
        'texts; set template = "chat", or leave it out',
    ),
    "preferences where answers are learned": (
        PREFERENCE,
        {},
        "its rows are preferences (prompt, chosen, rejected), from which `[training] method` = "
        '"dpo" learns; set that, or name the answers to learn with `[data] fields` = '
        '{prompt = "prompt", completion = "chosen"}',
    ),
    "answers where preferences are learned": (
        ROW,
        {"preferences": True},
        'its rows are of instruction, and `[training] method` = "dpo" learns from preferences; '
        'give rows with prompt, chosen and rejected, or set method = "sft"',
    ),
    "a turn that is none": (
        {"messages": [{"speaker": "me", "content": "a"}, ANSWER]},
        {"chat_template": CHAT},
        "row 1: message 1 of `messages` must have `role` and `content`, or `from` and `value` (it "
        "has speaker, content); complete it or rename them",
    ),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER]},
        {"chat_template": CHAT},
        "row 1: message 1 of `messages`: its content [{'type': 'image'}] must be text; leave out "
        "images and the like",
    ),
    "messages that are none": (
        {"messages": "Name a river."},
        {"chat_template": CHAT},
        "row 1: `messages` = 'Name a river.' must be a list of messages; for example "
        '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
    ),
    "a template that takes no such chat": (
        MESSAGES,
        {"chat_template": "{{ raise_exception('no rivers') }}"},
        "row 1: is refused by the chat template (no rivers); change the row, or give another "
        "chat_template; 2 of the first 2 rows are refused",
    ),
}


@pytest.mark.parametrize(("row", "more", "message"), AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_cannot_be_read(
    file: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    row: dict[str, Any],
    more: dict[str, Any],
    message: str,
) -> None:
    assert refusal(file, [row], tiny_tokenizer, **more) == message.replace("FILE", str(file))


def test_a_template_that_cannot_tell_the_assistant_s_words(
    file: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """As templates do that leave out the thoughts of all turns but the last."""
    last = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content if loop.last else m.content[:2] }}\n"
        "{% endfor %}"
    )
    row = {"messages": [USER, ANSWER, USER, ANSWER]}
    told = refusal(file, [MESSAGES, row], tiny_tokenizer, chat_template=last)
    assert told.startswith("row 2: is written out otherwise alone than with the turns behind it")


def test_a_template_with_a_day_writes_the_same_one_every_day(
    file: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the way of Llama 3.2's; also where tokens of another day are on the disk."""
    day = "{% if not day is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}"
    template = f"{day}Today: {{{{ day }}}}\n{CHAT}"
    found = corpus_of(file, [MESSAGES], tiny_tokenizer, chat_template=template)
    text, learned = read(found, tiny_tokenizer)
    assert text.startswith("Today: 26 Jul 2024\n") and learned.startswith("Rhine")
    data = DataSettings(train=str(file), validation=str(file), chat_template=template)
    for year in (2025, 2024):
        monkeypatch.setattr("objectives.data.chat.DAY", datetime(year, 7, 26))
        kept = load_corpus(data, tiny_tokenizer, tmp_path / "cache")
        assert read(kept, tiny_tokenizer)[0].startswith(f"Today: 26 Jul {year}\n")


def test_a_tokenizer_that_does_not_tell_where_its_tokens_are(file: Path) -> None:
    slow: Any = ByT5Tokenizer()
    told = refusal(file, [MESSAGES], slow, chat_template=CHAT.replace("{{ bos_token }}", ""))
    assert told.startswith("row 1: is for a tokenizer in Python, which does not say where")
    row = {"prompt": [USER], "completion": [ANSWER]}
    corpus = corpus_of(file, [row], slow, chat_template=CHAT.replace("{{ bos_token }}", ""))
    assert read(corpus, slow)[1].strip() == "Rhine</s>"


TEXT = {"text": "Rhine"}
ANSWERED = {"prompt": "Name a river.", "completion": "Rhine"}
IN_TURNS = {"prompt": [USER], "completion": [ANSWER]}
PREFERRED = {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER | {"content": "apple"}]}


@pytest.mark.parametrize(
    ("row", "other", "settings", "message"),
    [
        (ROW, TEXT, {}, "rows of instruction and PATH of text, WHY; take sources of one format"),
        (ROW, MESSAGES, {}, 'of one format, or set `[data] template` = "chat", which makes chats'),
        (ANSWERED, IN_TURNS, {}, "rows of completion and PATH of completion in turns, WHY; "),
        (PREFERENCE, PREFERRED, {}, "rows of preference and PATH of preference in turns, WHY; "),
        (TEXT, ANSWERED, {}, "rows of text and PATH of completion, WHY; take sources of one"),
        (ANSWERED, TEXT, {}, "rows of completion and PATH of text, WHY; take sources of one"),
        (ROW, ANSWERED, {"template": "chat"}, "of completion in turns, WHY; take sources of one"),
        (TEXT, TEXT, {"template": "chat"}, "`[data] template` = 'chat': makes chats of rows with"),
    ],
)
def test_sources_that_are_not_learned_alike(
    file: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    row: dict[str, Any],
    other: dict[str, Any],
    settings: dict[str, str],
    message: str,
) -> None:
    """The way out is one that leads out."""
    second = write_rows(file.with_name("others.jsonl"), [other])
    train = [str(write_rows(file, [row])), str(second)]
    data = DataSettings.model_validate({"train": train, "validation_rows": 1, **settings})
    with pytest.raises(UserError) as refused:
        load_corpus(data, tiny_tokenizer, None, preferences="chosen" in row)
    expected = message.replace("PATH", str(second)).replace("WHY", "which are learned otherwise")
    assert expected in str(refused.value)
    if settings:
        assert 'set `[data] template` = "chat"' not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "settings", "way"),
    [
        (ROW, {}, "instruction"),
        (ROW, {"template": "chat"}, "chat"),
        (MESSAGES, {}, "chat"),
        (PREFERENCE, {}, "text"),
        ({"text": "Rhine"}, {}, "text"),
    ],
)
def test_how_it_is_asked(file: Path, row: Any, settings: Any, way: str) -> None:
    data = DataSettings(train=str(write_rows(file, [row])), **settings)
    assert way_of_asking(data) == way
