"""Losses of preferences, out of the log-probabilities that adapter and base give two answers.

Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) and its kin, in the
notation of section 4: for a prompt x with the better answer y_w and the worse y_l,

    h_w = log pi(y_w | x) - log pi_ref(y_w | x)        of the adapter over the base alone
    h_l = log pi(y_l | x) - log pi_ref(y_l | x)
    loss = -log sigmoid(beta * (h_w - h_l))            eq. 7, "sigmoid"
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from accelerate import Accelerator
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional as F

from objectives.data.corpus import collate
from objectives.data.corpus import Corpus
from objectives.data.corpus import Preference
from objectives.data.corpus import Samples
from objectives.model.memory import DeviceFull
from objectives.model.memory import raising_device_full
from objectives.model.sharded import is_sharded
from objectives.scoring.losses import label_losses
from objectives.scoring.losses import labels_of_rows
from objectives.scoring.losses import per_forward
from objectives.scoring.losses import share_of


__all__ = ["LOSSES", "Ratios", "ratios", "with_references"]


class Ratios(NamedTuple):
    """Of the preferences of a batch, each of shape (preferences,).

    Attributes:
        chosen: h_w, nats.
        rejected: h_l, nats.
        n_chosen: Labels of the better answer.
        n_rejected: Labels of the worse one.
    """

    chosen: Tensor
    rejected: Tensor
    n_chosen: Tensor
    n_rejected: Tensor

    @property
    def margin(self) -> Tensor:
        """h_w - h_l."""
        return self.chosen - self.rejected

    @property
    def margin_per_label(self) -> Tensor:
        """The same where each is divided by its labels."""
        return self.chosen / self.n_chosen - self.rejected / self.n_rejected


def _nca(h: Ratios, beta: float) -> Tensor:
    """Chen et al. 2024, arXiv 2402.05369, eq. 11 for two answers."""
    better, worse = beta * h.chosen, beta * h.rejected
    pulled = 0.5 * (F.logsigmoid(-better) + F.logsigmoid(-worse))
    return -F.logsigmoid(better) - pulled


def _apo_zero(h: Ratios, beta: float) -> Tensor:
    """D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 7."""
    return 1 - torch.sigmoid(beta * h.chosen) + torch.sigmoid(beta * h.rejected)


def _apo_down(h: Ratios, beta: float) -> Tensor:
    """The same, eq. 8."""
    return torch.sigmoid(beta * h.chosen) + 1 - torch.sigmoid(beta * h.margin)


LOSSES: Mapping[str, Callable[[Ratios, float], Tensor]] = {
    "sigmoid": lambda h, beta: -F.logsigmoid(beta * h.margin),
    # the same with the length of the answers taken out
    "sigmoid_norm": lambda h, beta: -F.logsigmoid(beta * h.margin_per_label),
    # Zhao et al. 2023, arXiv 2305.10425, eq. 1
    "hinge": lambda h, beta: torch.relu(1 - beta * h.margin),
    # Azar et al. 2023, arXiv 2310.12036, eq. 17, per label as its authors run it
    "ipo": lambda h, beta: (h.margin_per_label - 1 / (2 * beta)) ** 2,
    "nca_pair": _nca,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
}
"""TRL's names. Of the ratios and beta, shape (preferences,)."""


def ratios(model: nn.Module, batch: Mapping[str, Tensor], device: torch.device) -> Ratios:
    """Of a batch of preferences with their reference; the batch is on the CPU."""
    values = _answers(model, batch, device) - batch["reference"].to(device)
    labels = labels_of_rows(batch).to(device)
    return Ratios(*values.chunk(2), *labels.chunk(2))


def _answers(model: nn.Module, batch: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """Of the labels of each row together, in nats; shape (rows,)."""
    losses = label_losses(model, batch, device)
    # not index_add, whose order of adding a GPU chooses anew each time
    rows = torch.split(losses, labels_of_rows(batch).tolist())
    return -torch.stack([row.sum() for row in rows])


def with_references(
    corpus: Corpus, base: nn.Module, *, micro_batch: int, accelerator: Accelerator
) -> Corpus:
    """Preferences that know what the base makes of them, once for all trials of this process.

    Args:
        corpus: Of preferences.
        base: Without an adapter.
        micro_batch: Preferences per forward, at most.
        accelerator: Gives device, autocast and ranks. Every rank must call this, and gets the
            same.

    Raises:
        DeviceFull: Memory ran out, on this rank or on another: all ranks raise it. Of a base in
            shares the one rank does, for which the others wait.
    """

    def asked(samples: Samples) -> tuple[Preference, ...]:
        pairs = [sample for sample in samples if isinstance(sample, Preference)]
        size = per_forward(len(pairs), micro_batch, accelerator.num_processes)
        batches = share_of(_numbered(pairs, size), accelerator)
        found = torch.zeros(len(pairs), 2, device=accelerator.device)
        full = torch.zeros(1, device=accelerator.device)
        try:
            with raising_device_full(), torch.no_grad(), accelerator.autocast():
                for numbers, weight in batches:
                    batch = collate([pairs[i] for i in numbers], corpus.pad_id)
                    values = _answers(base, batch, accelerator.device)
                    if weight:
                        found[numbers] = values.reshape(2, -1).T
        except DeviceFull:
            if is_sharded(base):
                raise
            full += 1
        if accelerator.reduce(full, "sum"):
            raise DeviceFull
        known = accelerator.reduce(found, "sum").tolist()
        return tuple(
            replace(pair, reference=(chosen, rejected))
            for pair, (chosen, rejected) in zip(pairs, known, strict=True)
        )

    base.eval()
    return replace(corpus, train=asked(corpus.train), validation=asked(corpus.validation))


def _numbered(pairs: Sequence[Preference], size: int) -> list[list[int]]:
    """Their numbers, neighbours in length together."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]
