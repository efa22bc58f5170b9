"""Files, folders and several sources: the same rows from wherever they are."""

from __future__ import annotations

import bz2
from collections.abc import Callable
import csv
from dataclasses import replace
import gzip
import json
import lzma
from pathlib import Path
import subprocess
import sys
from typing import Any

from datasets import Dataset
from datasets import DatasetDict
import pytest
from rows_of_text import ROW
from rows_of_text import write_rows
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Corpus
from objectives.data.corpus import Sample
from objectives.data.load import load_corpus
from objectives.data.reading.rows import load_rows
from objectives.errors import UserError
from objectives.settings.config import load_experiment
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.sources import in_words
from objectives.settings.sections.sources import sources_of
from objectives.settings.sections.sources import SourceSettings


ROWS = [
    {"instruction": f"Name river {i}, or 'none'.", "input": "", "output": output}
    for i, output in enumerate(["007", "null", "a\nb", 'a "b", c', "é\u2028f", "3.50"] * 2)
]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"Name river {i}."},
            {"role": "assistant", "content": "Rhine"},
        ]
    }
    for i in range(4)
]
CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}</s>{% endfor %}"


def as_table(separator: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with file.open("w", newline="", encoding="utf-8") as opened:
            table = csv.DictWriter(opened, list(ROW), delimiter=separator)
            table.writeheader()
            table.writerows(ROWS)

    return write


def packed(
    write: Callable[[Path], Any], compress: Callable[[bytes], bytes] = gzip.compress
) -> Callable[[Path], None]:
    def write_packed(file: Path) -> None:
        plain = file.with_suffix("")
        write(plain)
        file.write_bytes(compress(plain.read_bytes()))
        plain.unlink()

    return write_packed


def as_json(file: Path) -> None:
    write_rows(file, ROWS)


def as_lines(file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def folder(path: Path) -> None:
    path.mkdir()
    write_rows(path / "train-0.jsonl", ROWS[:5])
    write_rows(path / "train-1.jsonl", ROWS[5:])
    write_rows(path / "test.jsonl", [ROW])


WRITERS: dict[str, Callable[[Path], Any]] = {
    "rows.json": as_json,
    "rows.jsonl.gz": packed(as_json),
    "rows.json.gz": packed(as_json),
    "rows.csv.gz": packed(as_table(",")),
    "rows.jsonl.xz": packed(as_json, lzma.compress),
    "rows.csv.bz2": packed(as_table(","), bz2.compress),
    "ROWS.TSV.GZ": packed(as_table("\t")),
    "R.TSV": as_table("\t"),
    "ROWS.JSONL": as_lines,
    "ROWS.JSONL.gz": packed(as_lines),
    "ROWS.JSON": as_json,
    "rows.jsonl.json": as_json,
    "r?w*s[1].csv": as_table(","),
    "rows[1].parquet": lambda file: Dataset.from_list(ROWS).to_parquet(file),
    "rows.csv": as_table(","),
    "rows.tsv": as_table("\t"),
    "rows.parquet": lambda file: Dataset.from_list(ROWS).to_parquet(file),
    "folder": folder,
    "saved": lambda path: Dataset.from_list(ROWS).save_to_disk(path),
    "several": lambda path: DatasetDict(
        {"train": Dataset.from_list(ROWS), "test": Dataset.from_list([ROW])}
    ).save_to_disk(path),
}


def read(train: Any, **settings: Any) -> list[dict[str, Any]]:
    data = DataSettings(train=train, **settings)
    (source,) = sources_of(data.train)
    return load_rows(source, data, split="train").rows


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_from_any_file(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read(str(tmp_path / name)) == ROWS


def test_another_split_of_a_folder(tmp_path: Path) -> None:
    folder(tmp_path / "rows")
    assert read(SourceSettings(name=str(tmp_path / "rows"), split="test")) == [ROW]
    with pytest.raises(UserError, match=r"split dev: cannot be read .*, split = \"...\"}, name"):
        read(SourceSettings(name=str(tmp_path / "rows"), split="dev"))


def test_messages_in_parquet_and_as_text_in_a_table(tmp_path: Path) -> None:
    Dataset.from_list(CHATS).to_parquet(tmp_path / "rows.parquet")
    texts = [{"messages": json.dumps(row["messages"])} for row in CHATS]
    Dataset.from_list(texts).to_csv(tmp_path / "rows.csv")
    for name in ("rows.parquet", "rows.csv"):
        assert read(str(tmp_path / name)) == CHATS


def test_the_paragraphs_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("One line,\nand another.\n\nA second.\n")
    found = [row["text"].strip() for row in read(str(tmp_path / "rows.txt"))]
    assert found == ["One line,\nand another.", "A second."]


WHOLE = gzip.compress(b"rows of text" * 100, mtime=0)
FLIPPED = WHOLE[:10] + bytes([WHOLE[10] | 0b110]) + WHOLE[11:]  # no such kind of block


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.parquet", b"no Parquet", "cannot be read ("),
        ("rows.jsonl.gz", b"no gzip", "cannot be read as UTF-8 text ("),
        ("rows.jsonl.gz", FLIPPED, "cannot be read as UTF-8 text ("),
        ("rows.csv.gz", FLIPPED, "cannot be read ("),
        ("rows.jsonl.xz", b"no xz", "cannot be read as UTF-8 text ("),
        (
            "rows.json",
            b'{"v": 1, "data": []}',
            "must be a list of objects, not dict; write the list under `data` alone into a file",
        ),
    ],
)
def test_a_broken_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(str(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


def test_a_key_that_a_row_has_twice(tmp_path: Path) -> None:
    text = '{"instruction": "a", "output": "b", "output": "c"}'
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(UserError, match="row 1: has the key `output` twice; delete one"):
        read(str(tmp_path / "rows.jsonl"))


def test_a_folder_of_two_kinds_of_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "train-0.jsonl", ROWS)
    Dataset.from_list(ROWS).to_parquet(tmp_path / "train-1.parquet")
    with pytest.raises(UserError, match=r"several kinds \(.*1 parquet.*name them one by one"):
        read(str(tmp_path))


def test_all_wrong_rows_are_counted(tmp_path: Path) -> None:
    wrong = {"instruction": "a"}
    file = write_rows(tmp_path / "rows.jsonl", [ROW, wrong, ROW, wrong, wrong])
    with pytest.raises(UserError, match=r"row 2: has no `output` .* \(2 more rows are wrong\)$"):
        read(str(file))


def test_a_row_of_parquet_is_named_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    Dataset.from_list([*ROWS[:2], ROW | {"output": None}]).to_parquet(file)
    with pytest.raises(UserError, match=r"rows\.parquet, row 3: `output` is null; write"):
        read(str(file))


def corpus_of(tokenizer: PreTrainedTokenizerFast, train: Any, **settings: Any) -> Corpus:
    data = DataSettings(train=train, **{"validation_rows": 10, **settings})
    return load_corpus(data, tokenizer, None)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """100 rows of rivers, and 100 of songs."""
    files = []
    for noun in ("river", "song"):
        rows = [ROW | {"instruction": f"Name {noun} {i}."} for i in range(100)]
        files.append(str(write_rows(tmp_path / f"{noun}.jsonl", rows)))
    return files[0], files[1]


def counts(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """Samples of rivers and of songs, in both parts."""
    every = [*corpus.train, *corpus.validation]
    texts = [tokenizer.decode(row.input_ids) for row in every if isinstance(row, Sample)]
    return sum("Name river" in text for text in texts), sum("Name song" in text for text in texts)


@pytest.mark.parametrize(("weight", "songs"), [(0.3, 30), (1.0, 100), (0.001, 1)])
def test_a_part_of_a_source(
    two: tuple[str, str], tiny_tokenizer: PreTrainedTokenizerFast, weight: float, songs: int
) -> None:
    corpus = corpus_of(tiny_tokenizer, [two[0], {"name": two[1], "weight": weight}])
    assert counts(corpus, tiny_tokenizer) == (100, songs)
    again = corpus_of(tiny_tokenizer, [two[0], {"name": two[1], "weight": weight}])
    assert again == corpus


def test_a_source_more_than_once(
    two: tuple[str, str], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """None of its rows is in both parts, and that it repeats itself is meant; to learn from."""
    corpus = corpus_of(tiny_tokenizer, [two[0], {"name": two[1], "weight": 3}])
    _, songs = counts(replace(corpus, train=()), tiny_tokenizer)
    assert len(set(corpus.validation)) == len(corpus.validation) and songs > 0
    assert counts(corpus, tiny_tokenizer) == (100, 3 * (100 - songs) + songs)
    assert not set(corpus.train) & set(corpus.validation)
    assert not corpus.notes


def test_one_source_in_the_long_form_is_the_same(
    two: tuple[str, str], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    plain = corpus_of(tiny_tokenizer, two[0])
    assert corpus_of(tiny_tokenizer, {"name": two[0]}) == plain
    assert corpus_of(tiny_tokenizer, [two[0]]) == plain


def test_sources_in_words() -> None:
    source = SourceSettings(name="/home/me/a.jsonl", weight=0.3)
    assert in_words(["org/data", source]) == "org/data + a.jsonl (weight 0.3)"


def test_paths_of_all_sources_start_at_the_experiment_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [ROW])
    write_rows(tmp_path / "b.jsonl", [ROW])
    (tmp_path / "chat.jinja").write_text(CHAT)
    file = tmp_path / "mine.toml"
    file.write_text(
        '[model]\nname = "org/model"\n[data]\nchat_template = "chat.jinja"\n'
        'train = ["a.jsonl", {name = "b.jsonl", weight = 0.5}, "org/data"]\n'
    )
    data = load_experiment(file).data
    names = [source.name for source in sources_of(data.train)]
    assert names == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "org/data"]
    assert data.chat_template == CHAT


def test_files_of_json_need_no_datasets(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Its import takes seconds, and brings Arrow."""
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    code = (
        "import sys\n"
        "from objectives.data.reading.rows import load_rows\n"
        "from objectives.settings.sections.data import DataSettings\n"
        "from objectives.settings.sections.sources import SourceSettings\n"
        f"source = SourceSettings(name={str(file)!r})\n"
        "load_rows(source, DataSettings(train=source), split='train')\n"
        "assert 'datasets' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
