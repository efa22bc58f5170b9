"""Prompts are the template's; a sample is the tokens that lm-eval would score, and an end."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path

import pytest
from rows_of_text import ROW
from rows_of_text import settings
from rows_of_text import without_bos
from rows_of_text import write_rows
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Sample
from objectives.data.load import load_corpus
from objectives.data.templates import prompt
from objectives.errors import UserError


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
    bare = without_bos(tiny_tokenizer)
    file = write_rows(tmp_path / "rows.jsonl", [ROW])
    corpus = load_corpus(settings(file, validation=str(file)), bare, None)
    assert list(corpus.train[0].input_ids[:-1]) == bare.encode(prompt(ROW, "alpaca") + "Rhine")
    assert tiny_tokenizer.bos_token_id not in corpus.train[0].input_ids
    assert corpus.pad_id == bare.eos_token_id


def test_no_eos_is_refused(tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no EOS token; set eos_token"):
        load_corpus(settings(alpaca_file), bare, None)


def test_long_samples_are_cut_and_those_without_an_answer_dropped(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    template = "{instruction}:"
    rows = [
        {"instruction": "Sort", "output": "apple " * 40},
        {"instruction": "Sort " * 40, "output": "apple"},
        {"instruction": "Count", "output": "river"},
    ]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    data = settings(file, validation=str(file), template=template, mask_prompt=True, max_length=12)
    corpus = load_corpus(data, tiny_tokenizer, None)
    assert sorted(tiny_tokenizer.decode(s.input_ids[:2]) for s in corpus.train) == [
        tiny_tokenizer.decode(tiny_tokenizer.encode(t)[:2]) for t in ("Count:", "Sort:")
    ]
    assert max(len(s.input_ids) for s in corpus.train) == 12
    longest = max(len(tiny_tokenizer.encode(f"{r['instruction']}:{r['output']}")) for r in rows)
    way_out = f"raise it (the longest has {longest + 1} tokens)"
    rule = "[data] max_length = 12: cuts off the"
    assert corpus.notes[1:] == tuple(
        f"{rule} {what}; {way_out}"
        for part in ("train", "validation")
        for what in (
            f"whole answer of 1 of 3 {part} rows, which are left out",
            f"end of 1 of 3 {part} rows",
        )
    )


def test_no_answer_left_at_all_is_refused(
    tiny_tokenizer: PreTrainedTokenizerFast, alpaca_file: Path
) -> None:
    data = settings(alpaca_file, mask_prompt=True, max_length=4)
    with pytest.raises(UserError, match=r"max_length = 4: .* of 48 of 48 train rows.* raise it"):
        load_corpus(data, tiny_tokenizer, None)
