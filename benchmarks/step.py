"""CPU time of a training step by the loss it takes: `python benchmarks/step.py`.

Forward and backward of the stand-in with an adapter of rank 16 on all linear modules, on rows of
42 tokens of which the last 22 have a label:

    plain      transformers' loss over all logits
    labels     the loss of objectives/scoring/score.py over logits at labels

They take turns; process time, the least of all turns. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import time

from peft import get_peft_model
from peft import LoraConfig
import torch
from torch import nn
from torch import Tensor
from transformers import AutoModelForCausalLM

from objectives.data.corpus import IGNORED
from objectives.scoring.losses import label_losses


MODEL = Path(__file__).parents[1] / "examples" / "standin" / "model"
TOKENS, LABELS = 42, 22

Batch = dict[str, Tensor]
Loss = Callable[[nn.Module, Batch], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--turns", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = _model()
    print("micro-batch   plain  labels   (milliseconds)")
    for size in arguments.micro_batches:
        times = _least(model, _batch(size), arguments.turns)
        print(f"{size:>11} " + " ".join(f"{1e3 * each:>7.1f}" for each in times))


def _model() -> nn.Module:
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).requires_grad_(False)
    config = LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, config).train()


def _batch(rows: int) -> Batch:
    ids = torch.randint(5, 2000, (rows, TOKENS), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, :-LABELS] = IGNORED
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def _all(model: nn.Module, batch: Batch) -> Tensor:
    loss: Tensor = model(**batch, use_cache=False).loss
    return loss


def _at_labels(model: nn.Module, batch: Batch) -> Tensor:
    return label_losses(model, batch, torch.device("cpu")).mean()


def _least(model: nn.Module, batch: Batch, turns: int) -> list[float]:
    """Seconds of a step with each loss."""
    times = [[_step(model, loss, batch) for loss in (_all, _at_labels)] for _ in range(turns)]
    return [min(each) for each in zip(*times, strict=True)]


def _step(model: nn.Module, loss: Loss, batch: Batch) -> float:
    start = time.process_time()
    loss(model, batch).backward()
    seconds = time.process_time() - start
    model.zero_grad()
    return seconds


if __name__ == "__main__":
    main()
