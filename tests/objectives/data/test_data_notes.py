"""What of the data is left out, cut or there twice is told, with its count; the rest is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rows_of_text import settings
from rows_of_text import write_rows
from transformers import PreTrainedTokenizerFast

from objectives.data.corpus import Corpus
from objectives.data.load import load_corpus
from objectives.data.templates import prompt
from objectives.errors import UserError


CHAT = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
EMPTY = {"instruction": " ", "input": "", "output": "\n"}


def row(number: int, **others: Any) -> dict[str, Any]:
    return {"instruction": f"Count to {number}.", "output": f"river {number}", **others}


class Load:
    """A corpus of rows of a test's making, and of others to validate on."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self._folder, self._tokenizer = folder, tokenizer

    def __call__(self, rows: list[Any], **others: Any) -> Corpus:
        train = write_rows(self._folder / "train.jsonl", rows)
        apart = [row(900), row(901)]
        apart = write_rows(self._folder / "validation.jsonl", others.pop("apart", apart))
        data = settings(train, **{"validation": str(apart), **others})
        return load_corpus(data, self._tokenizer, None)


@pytest.fixture
def load(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> Load:
    return Load(tmp_path, tiny_tokenizer)


def test_sound_data_need_no_word(load: Load) -> None:
    rows = [row(1, input="the river"), row(2), row(3, input=None, extra="", more=None)]
    assert load(rows).notes == ()
    both = "{instruction}: {input}"
    assert load([row(1, input="a")], template=both, apart=[row(1, input="b")]).notes == ()


def test_empty_rows_are_left_out(load: Load) -> None:
    corpus = load([row(1), EMPTY, row(2), EMPTY], apart=[EMPTY, row(3)])
    assert corpus.notes == (
        "data: 2 of 4 train rows are empty, and left out",
        "data: 1 of 2 validation rows are empty, and left out",
    )
    without = load([row(1), row(2)], apart=[row(3)])
    assert set(corpus.train) == set(without.train) and corpus.validation == without.validation
    notes = load([row(1), {**EMPTY, "input": "x"}]).notes
    assert not any("are empty, and left out" in note for note in notes), "an input is text"


def test_nothing_but_empty_rows_is_refused(load: Load) -> None:
    with pytest.raises(UserError, match=r"train.jsonl: holds 2 rows, all empty; give a file with"):
        load([EMPTY, EMPTY])


def test_rows_without_an_answer(load: Load) -> None:
    rows, apart = [row(1), row(2, output=""), row(3, output=" \n")], [row(4, output=""), row(5)]
    teaches = "rows have an empty output, which teaches or tests to answer nothing; delete them if"
    assert load(rows, apart=apart, mask_prompt=True).notes == (
        f"data: 2 of 3 train {teaches} that is not meant",
        f"data: 1 of 2 validation {teaches} that is not meant",
    )
    assert load(rows, apart=apart, mask_prompt=False).notes == (), "the prompt is learned from"


def test_an_input_that_the_template_drops(load: Load) -> None:
    rows = [row(1, input="the river"), row(2, input=""), row(3, input="the sea")]
    assert load(rows, template="{instruction}: ").notes == (
        "data: 2 of 3 train rows have an input, which is left out: [data] template has no "
        "{input}; write it where the input is to stand",
    )


def test_fields_that_no_template_has(load: Load) -> None:
    rows = [row(1, system="Be brief."), row(2, history=[["a", "b"]])]
    assert load(rows, apart=[row(3, system="-")]).notes == (
        "data: beside instruction, input and output the rows have system, history, which is not "
        "read; put what matters into instruction or input",
    )


def test_answers_that_are_cut(load: Load, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row(1, output="a river and a song " * n) for n in (1, 2, 9)]
    lengths = [len(tiny_tokenizer.encode(prompt(r, "alpaca") + r["output"])) + 1 for r in rows]
    assert load(rows, max_length=lengths[2]).notes == ()
    for mask in (False, True):
        for fits, length in enumerate(lengths):
            assert load(rows, max_length=length - 1, mask_prompt=mask, apart=[row(5)]).notes == (
                f"[data] max_length = {length - 1}: cuts off the end of {3 - fits} of 3 train "
                f"rows; raise it (the longest has {lengths[2]} tokens)",
            ), "down to the end token"


def test_rows_that_are_there_twice(load: Load) -> None:
    rows = [row(1), row(2), row(1), row(1), row(1, output="brook")]
    assert load(rows).notes == (
        "data: 2 of 5 train rows repeat another one, and are learned from each time; delete them "
        "if that is not meant",
    )
    assert len(load(rows).train) == 5


def test_validation_rows_that_are_learned_from(load: Load) -> None:
    note = (
        "data: {} of {} validation rows are train rows too, so that the validation loss flatters; "
        "delete them from one of the two"
    )
    rows = [row(n) for n in range(8)]
    assert load(rows, apart=[row(1), row(9), row(3)]).notes == (note.format(2, 3),)
    twice = [each for each in rows for _ in range(2)]
    (told, shared) = load(twice, validation=None, validation_rows=8, split_seed=1).notes
    assert " of 8 train rows repeat another one" in told
    assert shared.startswith("data: ") and " of 8 validation rows are train rows too" in shared


def chatting(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>", chat_template=template
    )


def test_a_chat_template_is_told_of_as_one_of_ours(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    load = Load(tmp_path, chatting(tiny_tokenizer, CHAT))
    begin = (
        "data: the tokenizer has a chat template, which [data] template does not follow; for a "
        "model that was tuned on it write template = "
    )
    (note,) = load([row(1)]).notes
    assert note == begin + '"<|user|>{instruction}</s><|assistant|>"'
    written = json.loads(note.removeprefix(begin))  # a basic string of TOML
    assert load([row(1)], template=written).notes == ()
    assert load([row(1)], template="Be brief. " + written).notes == ()
    rows = [row(1, input="a song")]
    (note,) = load(rows).notes
    assert note == begin + '"<|user|>{instruction}\\n\\n{input}</s><|assistant|>"'


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{{ messages[0].content }}" + "x" * 400, "{% if"]
)
def test_a_chat_template_that_is_not_so_simple(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, template: str
) -> None:
    (note,) = Load(tmp_path, chatting(tiny_tokenizer, template))([row(1)]).notes
    assert note.endswith('write template = "...", as that has it')
