"""Builds the stand-in: a small Llama with tokenizer, data and tasks; writes its output folder.

    python -m examples.standin.build --output examples/standin   # about 10 minutes of one core
    python -m examples.standin.build --output other --steps 20   # a quick one that knows nothing

Everything comes from the text that every Python has: the topics of `help()` and the docstrings of
the standard library. The base is pre-trained on it, without the functions that are kept for
validation and test; an experiment then tunes it by LoRA to say what a function does. One machine
builds the same files every time; another Python version has other docstrings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import islice
from pathlib import Path
import random

from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import Regex
from tokenizers import Tokenizer
from tokenizers import trainers
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import LlamaConfig
from transformers import LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

from examples.standin import questions
from examples.standin.questions import Split
from examples.standin.text import Docstring
from examples.standin.text import docstrings
from examples.standin.text import Function
from examples.standin.text import functions
from examples.standin.text import in_words
from examples.standin.text import topic_texts


__all__ = ["StandinSettings", "build", "passages", "pretrain", "train_tokenizer"]

PAD, BOS, EOS = "<pad>", "<s>", "</s>"

# Words are cut at case changes and underscores, so that `getItems`, `get_items` and " items" share
# most of their tokens: what links a function's name to its description is mostly shared words.
# Otherwise GPT-2's pattern.
_PIECES = r" ?[A-Z]?[a-z]+| ?[A-Z]+(?![a-z])| ?\d| ?[^\sA-Za-z\d]+|\n+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class StandinSettings:
    """Sizes of the stand-in and of its pre-training."""

    seed: int = 0
    vocabulary: int = 2048
    """Tokens, the three special ones included."""
    hidden: int = 160
    intermediate: int = 432
    layers: int = 4
    heads: int = 4
    context: int = 512
    """Tokens the model is declared for; its positions are rotary."""
    steps: int = 3000
    """Optimizer steps of the pre-training."""
    batch: int = 8
    """Sequences per step."""
    length: int = 128
    """Tokens per sequence."""
    muon_rate: float = 0.015
    """Learning rate of the matrices inside the blocks."""
    adam_rate: float = 3e-3
    """Learning rate of everything else: embedding and norms."""
    warmup: int = 50
    """Steps."""
    decay: float = 0.4
    """Share of the steps, at the end, over which the learning rates fall linearly to 2 percent."""
    validation: int = 350
    """Functions kept for validation."""
    test: int = 700
    """Functions kept for the test."""


def build(settings: StandinSettings, output: Path) -> None:
    """Harvests, splits, pre-trains, and writes `model`, `data` and `tasks` under `output`."""
    found = docstrings()
    parts = questions.split(
        functions(found), validation=settings.validation, test=settings.test, seed=settings.seed
    )
    questions.write_data(parts, output / "data")
    questions.write_tasks(parts, output / "tasks", seed=settings.seed)
    texts = passages(found, parts)
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    tokenizer.save_pretrained(output / "model")
    model = pretrain(settings, tokenizer, texts)
    model.to(torch.bfloat16).save_pretrained(output / "model")


def passages(found: Sequence[Docstring], parts: Split) -> list[str]:
    """The pre-training text: topics, and docstrings under their name in words.

    Left out is whatever would give a held-out function away: every text that holds its answer, and
    every docstring of a function of the same short name.
    """
    names = {function.short_name for function in parts.held_out}
    described = [
        f"{in_words(docstring.name)}\n\n{docstring.text}"
        for docstring in found
        if Function(docstring.name, "").short_name not in names
    ]
    answers = [function.answer for function in parts.held_out]
    return [text for text in [*topic_texts(), *described] if not _holds_any(text, answers)]


def _holds_any(text: str, answers: Sequence[str]) -> bool:
    in_one_line = " ".join(text.split())
    return any(answer in in_one_line for answer in answers)


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts BOS in front, as Llama's tokenizers do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


def pretrain(
    settings: StandinSettings, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> LlamaForCausalLM:
    """Trains a Llama from scratch, with a progress bar; float32, one thread.

    The matrices take Muon: after 600,000 tokens its loss was 4.4 where AdamW's was 5.2.
    """
    torch.set_num_threads(1)  # more threads add in another order: other weights
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(_config(settings, tokenizer))
    optimizers = _optimizers(model, settings)
    schedules = [LambdaLR(optimizer, _rate(settings)) for optimizer in optimizers]
    batches = islice(_batches(settings, tokenizer, texts), settings.steps)
    progress = tqdm(batches, total=settings.steps, desc="pre-training", unit="step")
    for batch in progress:
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    return model


def _config(settings: StandinSettings, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _optimizers(model: LlamaForCausalLM, settings: StandinSettings) -> list[Optimizer]:
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    inside = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in inside]
    return [
        torch.optim.Muon(matrices, lr=settings.muon_rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=settings.adam_rate, weight_decay=0.0),
    ]


def _rate(settings: StandinSettings) -> Callable[[int], float]:
    """Warm-up, plateau, linear decay: the share of the learning rate at a step."""

    def rate(step: int) -> float:
        left = (settings.steps - step) / (settings.decay * settings.steps)
        return min((step + 1) / settings.warmup, 1.0, max(left, 0.02))

    return rate


def _batches(
    settings: StandinSettings, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> Iterator[Tensor]:
    """Endless batches, (batch, length) token ids: the texts end to end, shuffled every epoch."""
    encoded = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]
    rng = random.Random(settings.seed)
    size = settings.batch * settings.length
    waiting: list[int] = []
    while True:
        for ids in rng.sample(encoded, len(encoded)):
            waiting += ids
            while len(waiting) >= size:
                yield torch.tensor(waiting[:size]).view(settings.batch, settings.length)
                del waiting[:size]


def main() -> None:
    """The command line."""
    default = StandinSettings()
    parser = argparse.ArgumentParser(
        prog="python -m examples.standin.build",
        description="build the stand-in: model, tokenizer, data and tasks",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--steps", type=int, default=default.steps, help="of the pre-training")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps {arguments.steps}: must be at least 1")
    if arguments.output.exists() and not arguments.output.is_dir():
        parser.error(f"--output {arguments.output}: is not a folder; name another")
    build(replace(default, steps=arguments.steps), arguments.output)


if __name__ == "__main__":
    main()
