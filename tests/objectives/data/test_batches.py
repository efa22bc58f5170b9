"""A step is the same samples, whatever cuts it into batches; batches pad little."""

from __future__ import annotations

import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import torch

from objectives.data.corpus import collate
from objectives.data.corpus import count_steps
from objectives.data.corpus import Sample
from objectives.data.corpus import step_batches
from objectives.data.samples import samples_of
from objectives.data.tokens import Tokens
from objectives.settings.sections.data import DataSettings


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
    plain = list(step_batches(samples, micro_batch=batch, pad_id=0, **common))
    cut = list(step_batches(samples, micro_batch=micro, pad_id=0, **common))
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
        step_batches(
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
    found = step_batches(
        samples, effective_batch=8, micro_batch=8, epochs=epochs, seed=seed, pad_id=0
    )
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
        for step in step_batches(
            samples, effective_batch=16, micro_batch=8, epochs=1.0, seed=0, pad_id=0
        )
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


def test_samples_take_ten_bytes_a_token() -> None:
    """Two numbers of 32 bits, and what Python needs for each row."""
    rows, length = 500, 200
    ids = np.random.default_rng(0).integers(1000, 2**17, rows * length, np.int32)
    ends = np.arange(length, rows * length + 1, length)
    tokens = Tokens(ids, np.ones(len(ids), np.bool_), ends)
    tracemalloc.start()
    samples = samples_of(tokens, DataSettings(train="rows.jsonl"), masks=True, part="train")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == rows and taken < 10 * len(ids)
