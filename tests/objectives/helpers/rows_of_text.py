"""Rows of instructions and chats, what reads them, and a tokenizer without BOS, for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Corpus
from objectives.data.load import load_corpus
from objectives.settings.sections.data import DataSettings


ROW = {"instruction": "Name the river.", "input": "", "output": "Rhine"}
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
USER = {"role": "user", "content": "Name a river."}
ANSWER = {"role": "assistant", "content": "Rhine"}
MESSAGES = {"messages": [USER, ANSWER]}


def write_rows(file: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text if file.suffix == ".jsonl" else json.dumps(rows))
    return file


def settings(train: Path, **others: Any) -> DataSettings:
    return DataSettings(train=str(train), **{"validation_rows": 16, **others})


def without_bos(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same tokens, with EOS and nothing put in front."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    bare = Tokenizer.from_str(json.dumps({**state, "post_processor": None}))
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="</s>")


def corpus_of(
    file: Path,
    rows: list[Any],
    tokenizer: PreTrainedTokenizerFast,
    *,
    preferences: bool = False,
    **settings: Any,
) -> Corpus:
    name = str(write_rows(file, rows))
    data = DataSettings(train=name, validation=name, **settings)
    return load_corpus(data, tokenizer, None, preferences=preferences)
