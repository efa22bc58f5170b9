"""corpus, rows and tokens: the samples are the rows, whatever cuts, caches and batches them."""

from __future__ import annotations

from collections import Counter
import json
import logging
from pathlib import Path
import threading
from typing import Any

import datasets
from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerFast

from objectives.config import DataSettings
from objectives.corpus import collate
from objectives.corpus import Corpus
from objectives.corpus import count_steps
from objectives.corpus import load_corpus
from objectives.corpus import prompt
from objectives.corpus import Sample
from objectives.corpus import steps
from objectives.errors import UserError


ROW = {"instruction": "Name the river.", "input": "", "output": "Rhine"}


def write_rows(file: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text if file.suffix == ".jsonl" else json.dumps(rows))
    return file


def settings(train: Path, **others: Any) -> DataSettings:
    return DataSettings(train=str(train), **{"validation_rows": 16, **others})


def texts(samples: tuple[Sample, ...], tokenizer: PreTrainedTokenizerFast) -> Counter[str]:
    return Counter(tokenizer.decode(list(sample.input_ids)) for sample in samples)


def labelled(sample: Sample) -> list[int]:
    return [label for label in sample.labels if label != -100]


# Prompts


def test_alpaca_has_two_prompts() -> None:
    assert prompt(ROW, "alpaca") == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nName the river.\n\n### Response:\n"
    )
    assert prompt({**ROW, "input": "In Cologne."}, "alpaca") == (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName the river.\n\n### Input:\nIn Cologne.\n\n### Response:\n"
    )


def test_braces_stay_as_they_are() -> None:
    row = {"instruction": "{input} {x}", "input": "{instruction}"}
    assert prompt(row, '{"q": "{instruction}", "i": "{input}"}') == (
        '{"q": "{input} {x}", "i": "{instruction}"}'
    )


# Samples


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_sample_is_bos_prompt_answer_eos(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, suffix: str
) -> None:
    file = write_rows(tmp_path / f"rows{suffix}", [ROW])
    corpus = load_corpus(settings(file, validation=str(file)), tiny_tokenizer, None)
    (sample,) = corpus.train
    text = prompt(ROW, "alpaca") + "Rhine"
    assert list(sample.input_ids) == [*tiny_tokenizer.encode(text), tiny_tokenizer.eos_token_id]
    assert sample.input_ids.count(tiny_tokenizer.bos_token_id) == 1
    assert sample.labels == sample.input_ids
    assert corpus.pad_id == tiny_tokenizer.pad_token_id


@pytest.mark.parametrize(
    "template", ["alpaca", "Q: {instruction} A:", "{instruction}   \n ", "<s>{instruction}:"]
)
def test_masked_labels_are_what_lm_eval_scores(
    tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path, template: str
) -> None:
    from lm_eval.models.huggingface import HFLM  # seconds of import that only this test needs

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    judge = HFLM(pretrained=model, tokenizer=tokenizer, max_length=256)
    # Answers with and without white space of their own at the cut.
    rows = [{**json.loads(line)} for line in alpaca_file.read_text().splitlines()[:20]]
    rows += [{**ROW, "output": " led"}, {**ROW, "output": ""}, {**ROW, "output": "\n\nx "}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    data = settings(file, validation=str(file), template=template, mask_prompt=True)
    ours = Counter(
        (s.input_ids, tuple(labelled(s))) for s in load_corpus(data, tokenizer, None).train
    )
    pairs = [judge._encode_pair(prompt(row, template), row["output"]) for row in rows]
    eos = [tokenizer.eos_token_id]
    assert ours == Counter((tuple(c + a + eos), tuple(a + eos)) for c, a in pairs)


def test_masked_samples_differ_in_labels_only(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    whole = load_corpus(settings(alpaca_file), tiny_tokenizer, None)
    masked = load_corpus(settings(alpaca_file, mask_prompt=True), tiny_tokenizer, None)
    for a, b in zip(whole.train, masked.train, strict=True):
        assert a.input_ids == b.input_ids
        assert len(b.labels) == len(b.input_ids)
        n = b.labels.count(-100)
        assert 0 < n < len(b.labels)
        assert b.labels == (-100,) * n + a.labels[n:]


def test_a_tokenizer_without_bos_gets_none(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    bare = PreTrainedTokenizerFast(
        tokenizer_object=_without_post_processor(tiny_tokenizer), eos_token="</s>"
    )
    file = write_rows(tmp_path / "rows.jsonl", [ROW])
    corpus = load_corpus(settings(file, validation=str(file)), bare, None)
    assert list(corpus.train[0].input_ids[:-1]) == bare.encode(prompt(ROW, "alpaca") + "Rhine")
    assert tiny_tokenizer.bos_token_id not in corpus.train[0].input_ids
    assert corpus.pad_id == bare.eos_token_id


def _without_post_processor(tokenizer: PreTrainedTokenizerFast) -> Any:
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**state, "post_processor": None}))


def test_no_eos_is_refused(tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no EOS token; set eos_token"):
        load_corpus(settings(alpaca_file), bare, None)


def test_long_samples_are_cut_and_those_without_an_answer_dropped(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    template = "{instruction}:"
    rows = [
        {"instruction": "Sort", "output": "apple " * 40},
        {"instruction": "Sort " * 40, "output": "apple"},
        {"instruction": "Count", "output": "river"},
    ]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    data = settings(file, validation=str(file), template=template, mask_prompt=True, max_length=12)
    with caplog.at_level(logging.WARNING):
        corpus = load_corpus(data, tiny_tokenizer, None)
    assert sorted(tiny_tokenizer.decode(s.input_ids[:2]) for s in corpus.train) == [
        tiny_tokenizer.decode(tiny_tokenizer.encode(t)[:2]) for t in ("Count:", "Sort:")
    ]
    assert max(len(s.input_ids) for s in corpus.train) == 12
    assert [record.getMessage() for record in caplog.records] == [
        f"[data] max_length = 12: cuts off the whole answer of 1 of 3 {part} rows, "
        "which are left out; raise it"
        for part in ("train", "validation")
    ]


def test_no_answer_left_at_all_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    data = settings(alpaca_file, mask_prompt=True, max_length=4)
    with pytest.raises(UserError, match=r"max_length = 4: .* of 48 of 48 train rows.* raise it"):
        load_corpus(data, tiny_tokenizer, None)


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
    monkeypatch.setattr("objectives.tokens._encode_pairs", None)
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

    bare = PreTrainedTokenizerFast(
        tokenizer_object=_without_post_processor(tiny_tokenizer), eos_token="</s>"
    )
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
    with pytest.raises(UserError, match=r"cache folder .*file: cannot be written .* another"):
        load_corpus(settings(alpaca_file), tiny_tokenizer, file)


# Bad data


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
        "{file}, row 1: has no `output` (it has instruction, input, output); "
        "rows need instruction, output, so rename the fields of the data or complete the row",
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
    "latin.jsonl": (b'{"instruction": "\xe9"}', "cannot be read as UTF-8 text ("),
    "rows.csv": (b"instruction,output", "must end in .json or .jsonl; convert it"),
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


def test_a_data_set_that_cannot_be_had(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        load_corpus(DataSettings(train="no-such-org/no-such-data"), tiny_tokenizer, None)
    message = str(caught.value)
    assert message.startswith("data set no-such-org/no-such-data, split train: cannot be loaded (")
    assert message.endswith(
        "; check the name and the network, or download it elsewhere and give a "
        ".json or .jsonl file in [data]"
    )


def test_unicode_line_separators_do_not_break_lines(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"instruction": "a\u2028b", "output": "c\x85d"}
    file.write_text("\ufeff" + json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    corpus = load_corpus(settings(file, validation=str(file)), tiny_tokenizer, None)
    assert "a\u2028b" in tiny_tokenizer.decode(corpus.train[0].input_ids)


# Steps


def make_samples(lengths: list[int]) -> list[Sample]:
    """Samples that can be told apart by any token: sample i is the token i, repeated."""
    return [Sample((i,) * n, (i,) * n) for i, n in enumerate(lengths)]


def members(step: list[dict[str, torch.Tensor]]) -> list[int]:
    return [int(row[0]) for batch in step for row in batch["input_ids"]]


LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=80)
BATCH = st.integers(1, 20)
EPOCHS = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0])


@given(lengths=LENGTHS, batch=BATCH, micro=BATCH, epochs=EPOCHS, seed=st.integers(0, 2**32 - 1))
def test_steps_do_not_depend_on_the_micro_batch(
    lengths: list[int], batch: int, micro: int, epochs: float, seed: int
) -> None:
    common: dict[str, Any] = {"effective_batch": batch, "epochs": epochs, "seed": seed}
    samples = make_samples(lengths)
    plain = list(steps(samples, micro_batch=batch, pad_id=0, **common))
    cut = list(steps(samples, micro_batch=micro, pad_id=0, **common))
    assert [members(step) for step in cut] == [members(step) for step in plain]
    assert all(len(step) == 1 for step in plain)
    for step in cut:
        sizes = [len(part["input_ids"]) for part in step]
        assert all(size == micro for size in sizes[:-1]) and 1 <= sizes[-1] <= micro


@given(lengths=LENGTHS, batch=BATCH, epochs=EPOCHS, seed=st.integers(0, 99))
def test_sizes_are_exact_and_no_sample_comes_twice_in_an_epoch(
    lengths: list[int], batch: int, epochs: float, seed: int
) -> None:
    found = list(
        steps(
            make_samples(lengths),
            effective_batch=batch,
            micro_batch=4,
            epochs=epochs,
            seed=seed,
            pad_id=0,
        )
    )
    n = len(lengths)
    per_epoch = max(1, n // batch)
    assert len(found) == count_steps(n, batch, epochs) == max(1, round(per_epoch * epochs))
    assert all(len(members(step)) == min(batch, n) for step in found)
    for first in range(0, len(found), per_epoch):
        epoch = [i for step in found[first : first + per_epoch] for i in members(step)]
        assert len(epoch) == len(set(epoch))


def all_members(seed: int, epochs: float = 1.0, lengths: int = 64) -> list[list[int]]:
    samples = make_samples([1 + i % 7 for i in range(lengths)])
    found = steps(samples, effective_batch=8, micro_batch=8, epochs=epochs, seed=seed, pad_id=0)
    return [members(step) for step in found]


def test_the_seed_decides_the_order() -> None:
    assert all_members(1) == all_members(1)
    assert all_members(1) != all_members(2)


def test_epochs_differ_and_a_longer_run_starts_as_a_shorter() -> None:
    three = all_members(0, epochs=3.0)
    assert three[:8] == all_members(0, epochs=1.0)
    assert three[:4] == all_members(0, epochs=0.5)
    assert three[:8] != three[8:16] != three[16:]


def test_little_is_padded() -> None:
    samples = make_samples([1 + i % 50 for i in range(800)])
    batches = [
        batch
        for step in steps(samples, effective_batch=16, micro_batch=8, epochs=1.0, seed=0, pad_id=0)
        for batch in step
    ]
    padded = 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(
        b["attention_mask"].numel() for b in batches
    )
    # Without buckets the longest of 8 uniform lengths is 8/9 of 50, and 44 % are padding.
    assert padded < 0.10


def test_collate_pads_on_the_right() -> None:
    batch = collate([Sample((5, 6, 7), (-100, 6, 7)), Sample((8,), (8,))], pad_id=2)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 2, 2]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 6, 7], [8, -100, -100]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
