"""What the parts train: the stand-in, and a Llama of random weights on random tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math
import random

from accelerate import Accelerator
import torch
from transformers import AutoModelForCausalLM
from transformers import LlamaConfig
from transformers import PreTrainedModel

from benchmarks._throughput_model import SIZES
from benchmarks._throughput_work import STANDIN
from objectives.data.corpus import Corpus
from objectives.data.corpus import IGNORED
from objectives.data.corpus import Sample
from objectives.model.base import mixed_precision
from objectives.model.bench import Bench
from objectives.settings.config import Experiment
from objectives.settings.config import load_experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.training import TrainingSettings


__all__ = [
    "adapter",
    "close",
    "random_base",
    "random_bench",
    "random_experiment",
    "random_samples",
    "standin",
    "with_rows",
]

LONGEST = 512  # tokens; half as many rows have fewer than 100, which is Alpaca's middle
RANKS = (32, 8, 64, 16)


def standin(rows: int, dtype: str = "auto", **training: object) -> Experiment:
    """The stand-in's experiment on its first rows, by its loss."""
    experiment = load_experiment(STANDIN.with_suffix(".toml"))
    data = experiment.data.model_copy(update={"limit": rows, "validation_limit": rows})
    model = experiment.model.model_copy(update={"dtype": dtype})
    settings = experiment.training.model_copy(update={"validations": 1, **training})
    return experiment.model_copy(update={"data": data, "model": model, "training": settings})


def adapter(number: int, **more: float) -> Hyperparameters:
    """Of a pack whose ranks differ."""
    rank = RANKS[number % len(RANKS)]
    return replace(Hyperparameters(1e-4, 0.01, rank, 2 * rank, 0.05, 8), **more)  # type: ignore[arg-type]


def random_base(*, on_gpu: bool) -> PreTrainedModel:
    """Of the size of Llama-3.2-1B in bfloat16; tiny and in float32 on a CPU."""
    config = LlamaConfig(
        **SIZES["1b" if on_gpu else "tiny"],
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if on_gpu else "cpu"):
        base: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if on_gpu else torch.float32
        )
    return base.requires_grad_(False)


def random_bench(samples: Sequence[Sample], *, on_gpu: bool) -> Bench:
    """As `load_bench` gives it, but for the tokenizer, which training does without."""
    settings = ModelSettings(name="random", dtype="bfloat16" if on_gpu else "float32")
    accelerator = Accelerator(mixed_precision=mixed_precision(settings))
    base = random_base(on_gpu=on_gpu)
    corpus = Corpus(tuple(samples), tuple(samples[:8]), pad_id=0, fingerprint="random")
    return Bench(accelerator, base, None, corpus)


def random_experiment(**training: object) -> Experiment:
    """Of a `random_bench`."""
    return Experiment(
        model=ModelSettings(name="random"),
        data=DataSettings(train="random"),
        training=TrainingSettings(validations=1, **training),  # type: ignore[arg-type]
    )


def random_samples(rows: int, *, on_gpu: bool, tokens: int | None = None) -> list[Sample]:
    """Rows whose second half has labels; of lengths as Alpaca's, or all of `tokens`."""
    draw, vocabulary = random.Random(0), SIZES["1b" if on_gpu else "tiny"]["vocab_size"]
    samples = []
    for _ in range(rows):
        length = tokens or round(min(LONGEST, max(16, draw.lognormvariate(math.log(100), 0.6))))
        ids = tuple(draw.choices(range(vocabulary), k=length))
        samples.append(Sample(ids, (IGNORED,) * (length // 2) + ids[length // 2 :]))
    return samples


def with_rows(bench: Bench, rows: int) -> Bench:
    """The same with the first rows only."""
    return replace(bench, corpus=replace(bench.corpus, train=bench.corpus.train[:rows]))


def close(found: Sequence[float], expected: Sequence[float], within: float, what: str) -> float:
    """The largest relative difference.

    Raises:
        AssertionError: It is more than `within`.
    """
    largest = max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
    if not largest <= within:
        raise AssertionError(f"{what}: {largest:.2g} apart, more than {within:g}")
    return largest
