"""Instruction rows -> prompts -> token samples -> steps; touches no file itself.

The way of a row, with the template "alpaca" and `mask_prompt`:

    row      instruction = "Add 2 and 2.", output = "4"
    text     Below is an ... ### Response: | \\n4
    tokens   BOS, the context's tokens     | the answer's tokens, EOS
    labels   -100, -100, ...               | the answer's tokens, EOS
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
import random
import re

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from objectives.data import notes
from objectives.data.rows import load_rows
from objectives.data.rows import Rows
from objectives.data.tokens import digest
from objectives.data.tokens import Pair
from objectives.data.tokens import tokenise
from objectives.data.tokens import tokenizer_hash
from objectives.data.tokens import Tokens
from objectives.errors import UserError
from objectives.settings.sections import DataSettings


__all__ = [
    "IGNORED",
    "Corpus",
    "Sample",
    "collate",
    "count_steps",
    "load_corpus",
    "prompt",
    "steps",
]

IGNORED = -100  # the label that torch's cross entropy leaves out
WINDOW = 8  # steps whose samples are sorted by length together

# Stanford Alpaca's two prompts (github.com/tatsu-lab/stanford_alpaca, train.py).
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


@dataclass(frozen=True)
class Sample:
    """One row as tokens.

    Attributes:
        input_ids: BOS (where the tokenizer puts one), prompt, answer, EOS; cut at max_length.
        labels: The same, -100 where the loss does not count the token; not shifted.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """The samples of an experiment.

    Attributes:
        train: To learn from.
        validation: To take the validation loss on.
        pad_id: Token behind the end of short samples; never attended to.
        fingerprint: Equal for equal samples; 16 hexadecimal digits.
        notes: What of the rows is not learned from, or twice, or is no test; a line each.
    """

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    pad_id: int
    fingerprint: str
    notes: tuple[str, ...] = ()


def load_corpus(
    data: DataSettings, tokenizer: PreTrainedTokenizerBase, cache: Path | None
) -> Corpus:
    """Reads, splits and tokenises the data of an experiment.

    Args:
        data: What to read, and how.
        tokenizer: Of the base; it must have an EOS token.
        cache: Folder for tokenised data, made if needed; None keeps nothing. Several processes
            may use one folder at once.

    Raises:
        UserError: The data is not there, lacks a field, or leaves no sample.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no EOS token; set eos_token in its configuration")
    salt = tokenizer_hash(tokenizer)
    read, pairs = _split(data)
    keys = {part: digest([salt, *rows]) for part, rows in pairs.items()}
    tokens = {p: tokenise(rows, tokenizer, cache, keys[p]) for p, rows in pairs.items()}
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return Corpus(
        _samples(tokens["train"], data, "train"),
        _samples(tokens["validation"], data, "validation"),
        pad_id,
        digest([*keys.values(), data.max_length, data.mask_prompt])[:16],
        (
            *notes.of_rows(read, data),
            *notes.of_pairs(**pairs),
            *notes.of_lengths(tokens, data),
            *notes.of_tokenizer(tokenizer, read, data.template),
        ),
    )


def prompt(row: Mapping[str, str], template: str) -> str:
    """Everything that stands before the answer.

    Args:
        row: With the fields the template names; "alpaca" does without an input.
        template: "alpaca", or a text with {instruction} and perhaps {input}.
    """
    if template == "alpaca":
        template = ALPACA_WITH_INPUT if row.get("input") else ALPACA
    # Not str.format: templates and rows may hold braces, such as those of JSON.
    return re.sub(r"\{(instruction|input)\}", lambda match: row[match[1]], template)


def count_steps(n_samples: int, effective_batch: int, epochs: float) -> int:
    """The number of optimizer steps `steps` yields, at least 1."""
    return max(1, round(max(1, n_samples // effective_batch) * epochs))


def steps(
    samples: Sequence[Sample],
    *,
    effective_batch: int,  # samples per optimizer step
    micro_batch: int,  # samples per forward
    epochs: float,
    seed: int,
    pad_id: int,
    skip: int = 0,  # steps that are not wanted again
) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Batches the samples: one list of micro-batches for every optimizer step.

    A step's samples depend on the seed and the effective batch, not on the micro-batch. An epoch
    takes no sample twice; what is left behind the last full step is dropped, unless there is no
    full step: then one step takes all samples. The samples of neighbouring steps are sorted by
    length, so that little is padded, and the steps shuffled again.
    """
    per_epoch = count_steps(len(samples), effective_batch, 1.0)
    total = count_steps(len(samples), effective_batch, epochs)
    lengths = [len(sample.input_ids) for sample in samples]
    for done in range(skip - skip % per_epoch, total, per_epoch):
        rng = random.Random(f"{seed}:{done}")  # from text: the same in every Python
        epoch = _epoch(lengths, effective_batch, rng)
        for step in islice(epoch, max(0, skip - done), total - done):
            chunks = _chunks(step, micro_batch)
            yield [collate([samples[i] for i in chunk], pad_id) for chunk in chunks]


def collate(samples: Sequence[Sample], pad_id: int) -> dict[str, torch.Tensor]:
    """Pads samples on the right.

    Returns:
        input_ids, attention_mask and labels, each int64 of shape (samples, longest).
    """
    longest = max(len(sample.input_ids) for sample in samples)
    padding = [longest - len(sample.input_ids) for sample in samples]
    rows = list(zip(samples, padding, strict=True))
    return {
        "input_ids": torch.tensor([s.input_ids + (pad_id,) * n for s, n in rows]),
        "attention_mask": torch.tensor([(1,) * len(s.input_ids) + (0,) * n for s, n in rows]),
        "labels": torch.tensor([s.labels + (IGNORED,) * n for s, n in rows]),
    }


def _epoch(lengths: Sequence[int], batch: int, rng: random.Random) -> Iterator[list[int]]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    full = len(order) - len(order) % batch or len(order)
    for window in _chunks(order[:full], WINDOW * batch):
        in_window = list(_chunks(sorted(window, key=lambda i: lengths[i]), batch))
        rng.shuffle(in_window)
        yield from in_window


def _chunks(items: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(items[i : i + size]) for i in range(0, len(items), size))


def _split(data: DataSettings) -> tuple[dict[str, Rows], dict[str, list[Pair]]]:
    """The rows that were read, and those of train and validation as prompts and answers."""
    read = {"train": _read(data.train, "train", data)}
    train = _pairs(read["train"], data)
    if data.validation is not None:
        read["validation"] = _read(data.validation, "validation", data)
        validation = _pairs(read["validation"], data)
    elif data.validation_rows < len(train):
        # Before the limits: every limit is validated on the same rows.
        validation, train = train[: data.validation_rows], train[data.validation_rows :]
    else:
        raise UserError(
            f"[data] validation_rows = {data.validation_rows}: must be less than the "
            f"{len(train)} rows of {data.train}; lower it, or give validation a file"
        )
    return read, {"train": train[: data.limit], "validation": validation[: data.validation_limit]}


def _read(source: str, split: str, data: DataSettings) -> Rows:
    required = ["instruction", *(["input"] if "{input}" in data.template else []), "output"]
    return load_rows(source, split=split, required=required)


def _pairs(read: Rows, data: DataSettings) -> list[Pair]:
    """Prompts and answers in an order that only split_seed decides."""
    rows = list(read.rows)
    random.Random(data.split_seed).shuffle(rows)
    return [(prompt(row, data.template), row["output"]) for row in rows]


def _samples(tokens: Tokens, data: DataSettings, part: str) -> tuple[Sample, ...]:
    """The samples with a label behind the first token, whose own nothing predicts."""
    begins = np.concatenate([[0], tokens.ends[:-1]])
    rows = zip(begins.tolist(), tokens.ends.tolist(), tokens.starts.tolist(), strict=True)
    samples = []
    for begin, end, start in rows:
        ids = tuple(tokens.ids[begin : min(end, begin + data.max_length)].tolist())
        masked = start if data.mask_prompt else 0
        if len(ids) > max(masked, 1):
            samples.append(Sample(ids, (IGNORED,) * masked + ids[masked:]))
    if not samples:
        total = len(tokens.ends)
        raise UserError(
            f"[data] max_length = {data.max_length}: cuts off the whole answer of {total} of "
            f"{total} {part} rows, so none is left; raise it"
        )
    return tuple(samples)
