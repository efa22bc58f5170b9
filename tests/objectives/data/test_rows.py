"""Rows are read as they are; those that cannot be used are refused by file, row and way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rows_of_text import ROW
from rows_of_text import settings
from rows_of_text import write_rows
from transformers import PreTrainedTokenizerFast

from objectives.data.load import load_corpus
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings


BAD_ROWS = {
    "a missing field": (
        [ROW, {"instruction": "Name the river.", "answer": "Rhine"}],
        "{file}, row 2: has no `output` (it has instruction, answer); "
        "rows need instruction, output, so rename the fields of the data or complete the row",
    ),
    "an empty row": (
        [{}],
        "{file}, row 1: has no `instruction` (it has no field); "
        "rows need instruction, output, so rename the fields of the data or complete the row",
    ),
    "null": (
        [{**ROW, "output": None}],
        "{file}, row 1: `output` is null; write its text, or remove the row",
    ),
    "a number": (
        [ROW, ROW, {**ROW, "output": 4}],
        "{file}, row 3: `output` = 4 must be text; put it in quotes",
    ),
    "no object": (
        ["Rhine"],
        "{file}, row 1: must be an object with instruction, output, not 'Rhine'",
    ),
    "half a character": (
        [{**ROW, "output": "\ud83d"}],
        "{file}, row 1: `output` holds half a surrogate pair; remove it",
    ),
    "nothing": ([], "{file}: holds no rows; give a file with at least one"),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(("rows", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_bad_rows(
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    rows: list[Any],
    message: str,
    suffix: str,
) -> None:
    file = write_rows(tmp_path / f"rows{suffix}", rows)
    with pytest.raises(UserError) as caught:
        load_corpus(settings(file, validation_rows=1), tiny_tokenizer, None)
    assert str(caught.value) == message.format(file=file)


def test_a_template_with_input_needs_it(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"instruction": "Name", "output": "Rhine"}])
    data = settings(file, template="{instruction} {input}", validation_rows=1)
    with pytest.raises(UserError, match="row 1: has no `input` .* rows need instruction, input"):
        load_corpus(data, tiny_tokenizer, None)


BAD_FILES = {
    "rows.jsonl": (
        b'{"instruction": "a", "output": "b"}\n\n{"instr',
        "row 3: is not valid JSON: ",
    ),
    "rows.json": (b'{"instruction": "a"}', "must be a list of objects, not dict; put [ ] around"),
    "broken.json": (b"[1,", "is not valid JSON: "),
    "list.jsonl": (
        b'[{"instruction": "a"},\n{}]',
        "is a list, and has no object on each line",
    ),
    "lists.jsonl": (b"[1]\n[2]", "row 1: must be an object with instruction, output, not [1]"),
    "latin.jsonl": (b'{"instruction": "\xe9"}', "cannot be read as UTF-8 text ("),
    "rows.xlsx": (b"PK", "must end in .json, .jsonl, .csv, .tsv, .parquet, .txt; convert it"),
    "rows.csv": (b"instruction,output", "holds no rows; give a file with at least one"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_corpus(settings(tmp_path / name), tiny_tokenizer, None)
    assert str(caught.value).removeprefix(str(tmp_path / name)).lstrip(":, ").startswith(message)


def test_a_file_that_is_gone(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: there is no such file; correct the path"):
        load_corpus(settings(tmp_path / "gone.jsonl"), tiny_tokenizer, None)


@pytest.mark.usefixtures("offline")
def test_a_data_set_that_cannot_be_had(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError) as caught:
        load_corpus(DataSettings(train="no-such-org/no-such-data"), tiny_tokenizer, None)
    message = str(caught.value)
    assert message.startswith(
        "data set no-such-org/no-such-data, split train: is neither a file here nor in the hub's "
        "cache, and HF_HUB_OFFLINE is set; unset it, give a .json or .jsonl file in [data], "
        "or run the command where there is a network, "
    )


def test_unicode_line_separators_do_not_break_lines(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"instruction": "a\u2028b", "output": "c\x85d"}
    file.write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    corpus = load_corpus(settings(file, validation=str(file)), tiny_tokenizer, None)
    assert "a\u2028b" in tiny_tokenizer.decode(corpus.train[0].input_ids)
