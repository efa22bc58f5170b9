"""A corpus is all its rows, whatever splits, limits and caches it."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest
from rows_of_text import ROW
from rows_of_text import settings
from rows_of_text import without_bos
from rows_of_text import write_rows
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Corpus
from objectives.data.corpus import Sample
from objectives.data.load import load_corpus
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings


def texts(samples: tuple[Sample, ...], tokenizer: PreTrainedTokenizerFast) -> Counter[str]:
    return Counter(tokenizer.decode(list(sample.input_ids)) for sample in samples)


# Splits and limits


def test_the_split_tiles_the_rows(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    data = settings(alpaca_file)
    split = load_corpus(data, tiny_tokenizer, None)
    whole = load_corpus(settings(alpaca_file, validation=str(alpaca_file)), tiny_tokenizer, None)
    assert (len(split.train), len(split.validation)) == (48, 16)
    both = texts(split.train, tiny_tokenizer) + texts(split.validation, tiny_tokenizer)
    assert both == texts(whole.train, tiny_tokenizer)
    other = load_corpus(settings(alpaca_file, split_seed=1), tiny_tokenizer, None)
    assert set(other.validation) != set(split.validation)


@given(limit=st.integers(1, 60), validation_limit=st.integers(1, 20))
def test_limits_take_nested_parts(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path, limit: int, validation_limit: int
) -> None:
    full = load_corpus(settings(alpaca_file), tiny_tokenizer, None)
    data = settings(alpaca_file, limit=limit, validation_limit=validation_limit)
    part = load_corpus(data, tiny_tokenizer, None)
    assert part.train == full.train[:limit]
    assert part.validation == full.validation[:validation_limit]


def test_too_few_rows_for_the_split(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load_corpus(settings(alpaca_file, validation_rows=64), tiny_tokenizer, None)
    assert str(caught.value) == (
        f"[data] validation_rows = 64: must be less than the 64 rows of {alpaca_file}; "
        "lower it, or give validation a file"
    )


def test_without_a_number_a_fifth_of_few_rows_is_for_validation(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path, tmp_path: Path
) -> None:
    """And 2,000 of many: 12,500 are read here."""
    few = load_corpus(DataSettings(train=str(alpaca_file)), tiny_tokenizer, None)
    assert (len(few.train), len(few.validation)) == (52, 12)
    told = "data: 12 of the rows are for validation; [data] validation_rows takes another number"
    assert told in few.notes
    many = tmp_path / "many.json"
    row = {"instruction": "Say it.", "output": "It."}
    many.write_text(json.dumps([row | {"output": str(n)} for n in range(12_500)]))
    data = DataSettings(train=str(many), limit=3)
    found = load_corpus(data, tiny_tokenizer, None)
    assert (len(found.train), len(found.validation)) == (3, 2000)
    assert not [note for note in found.notes if "for validation" in note]


def test_one_row_is_too_few_to_validate_on(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    one = DataSettings(train=str(write_rows(tmp_path / "one.json", [ROW])))
    with pytest.raises(UserError, match="there is one row to learn from and none to validate on"):
        load_corpus(one, tiny_tokenizer, None)


# The cache


def test_a_hit_equals_a_miss(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    data = settings(alpaca_file, mask_prompt=True)
    cache = tmp_path / "deep" / "cache"
    plain = load_corpus(data, tiny_tokenizer, None)
    assert load_corpus(data, tiny_tokenizer, cache) == plain
    written = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert len(written) == 2
    assert load_corpus(data, tiny_tokenizer, cache) == plain
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == written


def test_a_hit_does_not_tokenise(
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    alpaca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = settings(alpaca_file)
    plain = load_corpus(data, tiny_tokenizer, tmp_path)
    monkeypatch.setattr("objectives.data.tokens._encoded", None)
    assert load_corpus(data, tiny_tokenizer, tmp_path) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"template": "{instruction} ->"},
        {"mask_prompt": True},
        {"max_length": 30},
        {"split_seed": 1},
        {"limit": 5},
    ],
    ids=str,
)
def test_another_setting_is_another_corpus(
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    alpaca_file: Path,
    change: dict[str, Any],
) -> None:
    first = load_corpus(settings(alpaca_file), tiny_tokenizer, tmp_path)
    second = load_corpus(settings(alpaca_file, **change), tiny_tokenizer, tmp_path)
    assert second == load_corpus(settings(alpaca_file, **change), tiny_tokenizer, None)
    assert second.train != first.train
    assert second.fingerprint != first.fingerprint


def test_other_rows_or_another_tokenizer_miss(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file, cache = tmp_path / "rows.jsonl", tmp_path / "cache"

    def load(output: str, tokenizer: PreTrainedTokenizerFast) -> Corpus:
        write_rows(file, [{**ROW, "output": output}])
        return load_corpus(settings(file, validation=str(file)), tokenizer, cache)

    bare = without_bos(tiny_tokenizer)
    found = [load("Rhine", tiny_tokenizer), load("Elbe", tiny_tokenizer), load("Rhine", bare)]
    assert len({corpus.fingerprint for corpus in found}) == len(set(c.train for c in found)) == 3


def test_padding_once_is_no_other_tokenizer(tiny_model_folder: Path, alpaca_file: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    before = load_corpus(settings(alpaca_file), tokenizer, None)
    tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    assert load_corpus(settings(alpaca_file), tokenizer, None) == before


def test_a_broken_cache_file_is_written_anew(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    plain = load_corpus(settings(alpaca_file), tiny_tokenizer, tmp_path)
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for file, content in files.items():
        file.write_bytes(content[: len(content) // 2])
    assert load_corpus(settings(alpaca_file), tiny_tokenizer, tmp_path) == plain
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_many_may_start_at_once(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    plain = load_corpus(settings(alpaca_file), tiny_tokenizer, None)
    found: list[Corpus] = []

    def load() -> None:
        found.append(load_corpus(settings(alpaca_file), tiny_tokenizer, tmp_path))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [plain] * 6
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"] * 2


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match=r"--output: .*file cannot be written .* another"):
        load_corpus(settings(alpaca_file), tiny_tokenizer, file)
