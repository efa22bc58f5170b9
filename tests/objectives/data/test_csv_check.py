"""What tables of real people hold, and what a CSV reader would make of it silently."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from rows_of_text import ANSWER
from rows_of_text import corpus_of
from rows_of_text import settings
from rows_of_text import USER
from transformers import PreTrainedTokenizerFast

from objectives.data.load import load_corpus
from objectives.errors import UserError


ROWS = "".join(f"ask {i},answer {i}\n" for i in range(30))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "instruction,output\n" + ROWS.replace("\n", ",\n"), "row 1: has 3 cells"),
        ("a.csv", "instruction,output\n0,ask,answer\n", "row 1: has 3 cells, and the header has"),
        ("a.csv", "instruction,input,output\n" + ROWS, "row 1: has 2 cells"),
        ("a.csv", f'instruction,output\n{ROWS}"open,closed\n{ROWS}', "mark its partner"),
        ("a.tsv", 'instruction\toutput\nask\t"x" 57\n', "mark its partner"),
        ("a.csv", "instruction;output\nask;answer\n", "are separated by ';', and commas are read"),
        ("a.csv", "instruction\toutput\nask\tanswer\n", "name the file .tsv"),
        ("a.csv", "instruction, output\nask,answer\n", "' output' has a space around it"),
        ("a.csv", "instruction,output,output\na,b,c\n", "has two columns 'output'"),
        ("a.jsonl", '[{"instruction": "a", "output": "b"}]', "is a list"),
    ],
)
def test_what_would_be_read_wrong_is_told(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, name: str, text: str, told: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_corpus(settings(file, validation=str(file)), tiny_tokenizer, None)
    assert told in str(caught.value)


def test_a_sound_table_is_read_packed_or_not(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    text = '\ufeffinstruction,output\r\n"say ""a, b""\nand c",007\r\n\r\nNA,null\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    found = []
    for name in ("a.csv", "b.csv.gz"):
        data = settings(
            tmp_path / name, validation=str(tmp_path / name), template="{instruction}:"
        )
        found.append(load_corpus(data, tiny_tokenizer, None).train)
    texts = sorted(tiny_tokenizer.decode(s.input_ids, skip_special_tokens=True) for s in found[0])
    assert found[0] == found[1] and len(texts) == 2
    assert "007" in texts[1] and "null" in texts[0]


PLAIN = "{% for m in messages %}{{m.role}}: {{m.content}}{{eos_token}}{% endfor %}"


def test_a_chat_that_the_assistant_begins_is_read_without_a_heading(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = [{"messages": [ANSWER, USER, ANSWER]}, {"messages": [USER, ANSWER]}]
    corpus = corpus_of(tmp_path / "a.jsonl", rows, tiny_tokenizer, chat_template=PLAIN)
    assert any("writes nothing where a turn is asked for" in note for note in corpus.notes)


MARKED = (
    "{% for m in messages %}[{{m.role}}] {% if m.role == 'assistant' %}{% generation %}"
    "{{m.content}}{{eos_token}}{% endgeneration %}{% else %}{{m.content}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def test_a_turn_of_weight_0_is_not_learned(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    first, second = {**ANSWER, "content": "one"}, {**ANSWER, "content": "two", "weight": 0}
    rows = [{"messages": [USER, first, USER, second]}]
    (sample,) = corpus_of(tmp_path / "a.jsonl", rows, tiny_tokenizer, chat_template=MARKED).train
    learned = tiny_tokenizer.decode([n for n in sample.labels if n != -100])
    assert "one" in learned and "two" not in learned


def test_preferences_of_an_answer_to_itself_are_told_of(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = [
        {"prompt": "Say it.", "chosen": " a", "rejected": " a"},
        {"prompt": "Say it.", "chosen": "", "rejected": " b"},
        {"prompt": "Say it.", "chosen": " a", "rejected": " b"},
    ]
    corpus = corpus_of(tmp_path / "a.jsonl", rows, tiny_tokenizer, preferences=True)
    told = "\n".join(corpus.notes)
    assert "1 of 3 train rows prefer an answer to itself" in told
    assert "1 of 3 train rows have an empty answer" in told


@pytest.mark.parametrize("turned", [False, True])
def test_text_and_messages_in_one_column_are_told_apart(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, turned: bool
) -> None:
    text = {"prompt": "Say it.", "completion": " a"}
    chat = {"prompt": [USER], "completion": [ANSWER]}
    rows = [chat, text] if turned else [text, chat]
    with pytest.raises(UserError, match="row 2: its `completion` is"):
        corpus_of(tmp_path / "a.jsonl", rows, tiny_tokenizer, chat_template=MARKED)


def test_rows_taken_away_for_validation_are_there_once(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("instruction,output\n" + ROWS)
    data = settings(file, validation_rows=10)
    weighted = data.model_validate(
        {**data.model_dump(), "train": [{"name": str(file), "weight": 3.0}]}
    )
    corpus = load_corpus(weighted, tiny_tokenizer, None)
    assert len(corpus.validation) == 10 and len(corpus.train) == 60
