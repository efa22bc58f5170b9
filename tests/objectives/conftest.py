"""Fixtures: a tokenizer, a two-layer Llama, a small Alpaca file, lm-eval tasks; no network."""

from __future__ import annotations

from collections.abc import Iterator
import gc
import json
from pathlib import Path

from fingerprints import fingerprint
from huggingface_hub import constants
import pytest
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import Tokenizer
from tokenizers import trainers
import torch
from transformers import LlamaConfig
from transformers import LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

from objectives.data import hub
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.pack import packed
from objectives.settings.config import Experiment
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings


BOS = "<s>"
EOS = "</s>"
PAD = "<pad>"
VERBS = ("Name", "Count", "Describe", "Translate", "Sort")
NOUNS = ("apple", "river", "engine", "song", "window", "teacher", "planet", "garden")
TEMPLATE_TEXT = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request. ### Instruction: ### Input: ### Response:"
)
QUESTIONS = 50
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: questions.jsonl, train: questions.jsonl}}}}
test_split: test
training_split: train
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
metric_list:
{metrics}
"""
LAST_WORDS = """
task: last_words
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: loglikelihood
doc_to_text: "Q"
doc_to_target: "{{['u', ' ', 'e'][gold]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
"""
ANSWERS = """
task: answers
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: generate_until
generation_kwargs: {until: ["."], max_gen_toks: 2}
doc_to_text: "{{query}}"
doc_to_target: "red"
metric_list: [{metric: exact_match}]
filter_list: [{name: first-word, filter: [{function: take_first}]}]
"""


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE=1, which the libraries read when they are imported."""
    hub._no_answer.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)


@pytest.fixture(scope="session", autouse=True)
def imported_modules_are_not_searched_for_garbage() -> None:
    """Every training ends with `gc.collect()`: 0.2 s each, for what torch and others brought."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def packs_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack's rows go through the base at once, however many they are."""
    monkeypatch.setattr(packed, "CPU_TOKENS", 10**9)


def alpaca_rows(n: int = 64) -> list[dict[str, str]]:
    """`n` rows in Alpaca's fields; answers of 1 to 12 words, every third row with an input."""
    return [_row(i) for i in range(n)]


def _row(i: int) -> dict[str, str]:
    verb, noun = VERBS[i % len(VERBS)], NOUNS[i % len(NOUNS)]
    words = [NOUNS[(i + k) % len(NOUNS)] for k in range(1 + i * 7 % 12)]
    return {
        "instruction": f"{verb} the {noun} number {i}.",
        "input": f"the {noun} and the {NOUNS[(i + 3) % len(NOUNS)]}" if i % 3 == 0 else "",
        "output": f"{verb} {' '.join(words)}.",
    }


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 384 tokens that puts BOS in front, as Llama's does, and never EOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [TEMPLATE_TEXT, *(value for row in alpaca_rows() for value in row.values())]
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


@pytest.fixture(scope="session")
def tiny_model_folder(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder as the hub would give it: random two-layer Llama of width 32 and its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(_tiny_config(tiny_tokenizer))
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def _tiny_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="session")
def alpaca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 Alpaca rows as JSON lines."""
    file = tmp_path_factory.mktemp("alpaca") / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in alpaca_rows()))
    return file


@pytest.fixture(scope="session")
def tiny_experiment(tiny_model_folder: Path, alpaca_file: Path) -> Experiment:
    """The tiny model on the small file, all the rest as it comes."""
    return Experiment(
        model=ModelSettings(name=str(tiny_model_folder), dtype="float32"),
        data=DataSettings(train=str(alpaca_file), validation_rows=16, mask_prompt=True),
    )


@pytest.fixture(scope="session")
def loaded(tiny_experiment: Experiment) -> Bench:
    """The one bench of the session; a test takes `bench`."""
    return load_bench(tiny_experiment)


@pytest.fixture
def bench(loaded: Bench) -> Iterator[Bench]:
    """The one bench of the session; no test may leave a trace on its base."""
    before = fingerprint(loaded.base)
    yield loaded
    assert fingerprint(loaded.base) == before


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks as a user has it: data files named relative to the YAML files."""
    folder = tmp_path_factory.mktemp("tasks")
    questions = [
        {
            "query": f"Question {i}: what is {'blue' if i % 3 else 'red'}?",
            "choices": [f"{word} {i * k % 7}" for k, word in enumerate(("sky", "sea", "a rose"))],
            "gold": i * i % 3,
        }
        for i in range(QUESTIONS)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    accuracy = "  - metric: acc\n  - metric: acc_norm"
    brier = "  - metric: brier_score\n    higher_is_better: false"
    (folder / "colours.yaml").write_text(TASK.format(name="colours", metrics=accuracy))
    (folder / "beliefs.yaml").write_text(TASK.format(name="beliefs", metrics=brier))
    overlap = "  - metric: exact_match\n  - metric: f1"
    (folder / "overlap.yaml").write_text(TASK.format(name="overlap", metrics=overlap))
    (folder / "last_words.yaml").write_text(LAST_WORDS)
    (folder / "answers.yaml").write_text(ANSWERS)
    group = "aggregate_metric_list: [{metric: acc}]"
    (folder / "group.yaml").write_text(f"group: all_colours\ntask: [colours]\n{group}\n")
    (folder / "set.yaml").write_text("group: some_colours\ntask: [colours]\n")
    return folder
