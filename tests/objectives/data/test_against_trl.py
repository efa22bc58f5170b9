"""Tokens and labels of every format are those that TRL's trainers make of the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
import pytest
from rows_of_text import write_rows
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerBase
import trl
from trl import DPOConfig
from trl import DPOTrainer
from trl import SFTConfig
from trl import SFTTrainer

from objectives.data.corpus import Preference
from objectives.data.corpus import Sample
from objectives.data.load import load_corpus
from objectives.model.bench import load_data
from objectives.settings.config import Experiment
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.training import TrainingSettings


Pairs = list[tuple[list[int], list[int]]]
"""Ids and labels of each row, in an order of their own."""

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
WORDS = ("apple", "river", "engine", "song", "window", "teacher", "planet", "garden")
SETTINGS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "activation_checkpointing": False,
}


def words(i: int, n: int) -> str:
    return " ".join(WORDS[(i * 3 + j) % len(WORDS)] for j in range(n))


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def chats() -> Iterator[list[dict[str, str]]]:
    """1 to 3 questions and answers, every third chat with a system turn."""
    for i in range(12):
        system = [turn("system", f"Speak of the {words(i, 1)}.")] if i % 3 == 0 else []
        pairs = [
            [turn("user", f"Name {words(i + j, 2)}?"), turn("assistant", words(i + j, 1 + i % 5))]
            for j in range(1 + i % 3)
        ]
        yield system + [each for pair in pairs for each in pair]


def texts() -> Iterator[dict[str, str]]:
    """The answers begin with and without white space, and one of them ends already."""
    for i in range(12):
        answer = (" " if i % 2 else "") + words(i, 1 + i % 6) + ("</s>" if i == 5 else "")
        yield {"prompt": f"Name {words(i, 3)}:", "completion": answer}


MESSAGES = [{"messages": chat} for chat in chats()]
ANSWERS = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats()]
TEXTS = [{"text": f"{row['prompt']}{row['completion']}"} for row in texts()]
PAIRS = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": " " + words(i + 1, 2)}
    for i, row in enumerate(texts())
]
CHAT_PAIRS = [
    {
        "prompt": chat[:-1],
        "chosen": chat[-1:],
        "rejected": [turn("assistant", words(i + 5, 1 + i % 4))],
    }
    for i, chat in enumerate(chats())
]


@pytest.fixture
def folder(tiny_model_folder: Path) -> Path:
    return tiny_model_folder


def tokenizer_of(folder: Path, template: str | None) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    if template is not None:
        tokenizer.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
    return tokenizer


def ours(
    rows: list[Any], tokenizer: PreTrainedTokenizerBase, file: Path, **settings: Any
) -> tuple[Sample | Preference, ...]:
    """What we make of all rows."""
    name = str(write_rows(file, rows))
    data = DataSettings(train=name, validation=name, **settings)
    preferences = "chosen" in rows[0]
    return load_corpus(data, tokenizer, None, preferences=preferences).train


def pairs_of(samples: tuple[Sample | Preference, ...]) -> Pairs:
    rows = [sample for sample in samples if isinstance(sample, Sample)]
    return sorted((list(row.input_ids), list(row.labels)) for row in rows)


def trl_s(
    rows: list[Any],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    output: Path,
    **settings: Any,
) -> Pairs:
    trainer = SFTTrainer(
        model=str(folder),
        args=SFTConfig(output_dir=str(output), **{"max_length": 512, **SETTINGS, **settings}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    return sorted((row["input_ids"], row["labels"]) for row in trainer.train_dataset)


@pytest.mark.parametrize("template", ["qwen3_training", "qwen2_5_training", "llama3_training"])
def test_messages_by_a_template_with_marks(folder: Path, tmp_path: Path, template: str) -> None:
    tokenizer = tokenizer_of(folder, template)
    expected = trl_s(MESSAGES, tokenizer, folder, tmp_path, assistant_only_loss=True)
    found = pairs_of(ours(MESSAGES, tokenizer, tmp_path / "rows.jsonl"))
    assert found == expected and len(found) == 12
    several = [labels for _, labels in found if answers_in(labels) == 3]
    assert len(several) == 4, "every turn of the assistant's counts"


def answers_in(labels: list[int]) -> int:
    """Runs of labels."""
    return sum(a == -100 != b for a, b in zip(labels, labels[1:], strict=False))


def test_messages_by_a_template_without_marks(folder: Path, tmp_path: Path) -> None:
    """TRL knows this one, and takes its own with marks in its place."""
    tokenizer = tokenizer_of(folder, "llama3")
    expected = trl_s(MESSAGES, tokenizer, folder, tmp_path, assistant_only_loss=True)
    assert pairs_of(ours(MESSAGES, tokenizer, tmp_path / "rows.jsonl")) == expected


def test_messages_of_which_all_counts(folder: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(folder, "llama3")
    expected = trl_s(MESSAGES, tokenizer, folder, tmp_path)
    found = ours(MESSAGES, tokenizer, tmp_path / "rows.jsonl", mask_prompt=False)
    assert pairs_of(found) == expected


def test_conversations_are_messages(folder: Path, tmp_path: Path) -> None:
    """ShareGPT's names for the same."""
    tokenizer = tokenizer_of(folder, "qwen3_training")
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    rows = [
        {"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in chat]}
        for chat in chats()
    ]
    expected = trl_s(MESSAGES, tokenizer, folder, tmp_path, assistant_only_loss=True)
    assert pairs_of(ours(rows, tokenizer, tmp_path / "rows.jsonl")) == expected


@pytest.mark.parametrize("template", ["qwen3", "llama3"])
def test_prompts_and_completions_of_messages(folder: Path, tmp_path: Path, template: str) -> None:
    tokenizer = tokenizer_of(folder, template)
    expected = trl_s(ANSWERS, tokenizer, folder, tmp_path)
    assert pairs_of(ours(ANSWERS, tokenizer, tmp_path / "rows.jsonl")) == expected


@pytest.mark.parametrize("rows", [list(texts()), TEXTS], ids=["completions", "texts"])
@pytest.mark.parametrize("max_length", [512, 16])
def test_texts(folder: Path, tmp_path: Path, rows: list[Any], max_length: int) -> None:
    tokenizer = tokenizer_of(folder, None)
    expected = trl_s(rows, tokenizer, folder, tmp_path, max_length=max_length)
    found = pairs_of(ours(rows, tokenizer, tmp_path / "rows.jsonl", max_length=max_length))
    assert found == expected
    bos = tokenizer.bos_token_id
    assert all(ids[0] == bos and bos not in ids[1:] for ids, _ in found)


def test_messages_that_are_cut(folder: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(folder, "qwen3_training")
    cut = {"max_length": 60}
    expected = trl_s(MESSAGES, tokenizer, folder, tmp_path, assistant_only_loss=True, **cut)
    found = pairs_of(ours(MESSAGES, tokenizer, tmp_path / "rows.jsonl", **cut))
    assert found == expected and 0 < len(found) < 12, "some have lost all answers"


IMPLICIT_TEXTS = [
    {answer: row["prompt"] + row[answer] for answer in ("chosen", "rejected")} for row in PAIRS
]
IMPLICIT = [
    {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]}
    for row in CHAT_PAIRS
]


@pytest.mark.parametrize(
    ("rows", "template"),
    [
        (PAIRS, None),
        (IMPLICIT_TEXTS, None),
        (CHAT_PAIRS, "llama3"),
        (CHAT_PAIRS, "qwen3"),
        (IMPLICIT, "llama3"),
    ],
    ids=["texts", "texts in both", "messages", "messages of Qwen 3", "messages in both"],
)
def test_preferences(folder: Path, tmp_path: Path, rows: list[Any], template: str | None) -> None:
    tokenizer = tokenizer_of(folder, template)
    trainer = DPOTrainer(
        model=str(folder),
        args=DPOConfig(output_dir=str(tmp_path), **SETTINGS),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    expected = sorted(
        (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        for row in trainer.train_dataset
    )
    found = []
    for pair in ours(rows, tokenizer, tmp_path / "rows.jsonl"):
        assert isinstance(pair, Preference)
        prompt, chosen = parted(pair.chosen)
        again, rejected = parted(pair.rejected)
        assert prompt == again
        found.append((prompt, chosen, rejected))
    assert sorted(found) == expected and len(found) == 12


def test_a_prompt_as_text_beside_messages_that_begin_with_it(folder: Path, tmp_path: Path) -> None:
    """As UltraFeedback has it."""
    tokenizer = tokenizer_of(folder, "llama3")
    rows = [row | {"prompt": row["chosen"][-2]["content"]} for row in IMPLICIT]
    plain = ours(IMPLICIT, tokenizer, tmp_path / "plain.jsonl")
    assert ours(rows, tokenizer, tmp_path / "rows.jsonl") == plain


def test_the_method_says_what_is_read(folder: Path, tmp_path: Path) -> None:
    """Of rows that are messages as well, as many sets of preferences have them."""
    rows = [
        pair | {"messages": row["messages"]}
        for pair, row in zip(CHAT_PAIRS, MESSAGES, strict=True)
    ]
    name = str(write_rows(tmp_path / "rows.jsonl", rows))
    tokenizer = tokenizer_of(folder, "llama3")
    data = DataSettings(train=name, validation=name, chat_template=tokenizer.chat_template)
    experiment = Experiment(
        model=ModelSettings(name=str(folder)),
        data=data,
        training=TrainingSettings(method="dpo"),
    )
    _, corpus = load_data(experiment)
    assert corpus.train == ours(CHAT_PAIRS, tokenizer, tmp_path / "pairs.jsonl")


def parted(sample: Sample) -> tuple[list[int], list[int]]:
    """The prompt, and all behind it, which is what counts."""
    start = sum(label == -100 for label in sample.labels)
    assert sample.labels[start:] == sample.input_ids[start:]
    return list(sample.input_ids[:start]), list(sample.input_ids[start:])
