"""Whether the modes of throughput.py did the same work: their losses on one yardstick."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks._throughput_modes import Ours
from benchmarks._throughput_modes import Plain
from benchmarks._throughput_work import Work
from objectives.data.corpus import collate
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.scoring.criterion import measure
from objectives.scoring.losses import label_losses


__all__ = ["Agreement", "Yardstick"]

Agreement = dict[str, float]
"""Largest difference over the trials, by name."""


class Yardstick:
    """The plain script's adapters, measured once; the base is let go of afterwards."""

    def __init__(self, work: Work, plain: Plain) -> None:
        self._plain = plain
        bench = load_bench(work.experiment)
        size = work.experiment.training.micro_batch
        self._losses, as_trainer = [], []
        for folder in plain.adapters:
            model = load_adapter(bench, folder)
            self._losses.append(_loss(bench, model, size))
            as_trainer.append(_mean_of_means(bench, model, size))
            release(bench, model)
        self.evaluation = _largest(as_trainer, plain.losses)
        """Trainer's own evaluations from ours: tokens, labels and masks are the same."""

    def agreement(self, mode: Ours) -> Agreement:
        """How far a mode's losses and scores lie from the plain script's."""
        return {
            "loss": _largest(mode.losses, self._losses),
            "accuracy": _largest(mode.accuracies, self._plain.accuracies),
        }


def _loss(bench: Bench, model: nn.Module, size: int) -> float:
    return measure(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=size,
        accelerator=bench.accelerator,
    ).loss


def _mean_of_means(bench: Bench, model: nn.Module, size: int) -> float:
    """What Trainer calls the loss: each batch's mean over its labels, for each of its rows.

    It depends on the batches (transformers issue 39241), so it is no objective; but it can be
    computed from the same forwards.
    """
    samples, means = bench.corpus.validation, []
    model.eval()
    for start in range(0, len(samples), size):
        rows = samples[start : start + size]
        batch = collate(rows, bench.corpus.pad_id)
        with torch.no_grad(), bench.accelerator.autocast():
            losses = label_losses(model, batch, bench.accelerator.device)
        means += [float(losses.mean())] * len(rows)
    return sum(means) / len(means)


def _largest(some: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(some, others, strict=True))
