"""What a training lowers and a validation takes: the mean of a loss over labels or preferences.

A mean over all units of a step or of all validation samples, never one of batch means, which
depends on how samples are put into batches (transformers issue 39241).
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from typing import final
from typing import NamedTuple

from accelerate import Accelerator
import torch
from torch import nn
from torch import Tensor

from objectives.data.corpus import collate
from objectives.data.corpus import Samples
from objectives.scoring.losses import by_length
from objectives.scoring.losses import count_labels
from objectives.scoring.losses import label_losses
from objectives.scoring.losses import per_forward
from objectives.scoring.losses import share_of
from objectives.scoring.preference import LOSSES
from objectives.scoring.preference import ratios
from objectives.settings.sections.training import TrainingSettings


__all__ = [
    "Criterion",
    "LabelLoss",
    "Losses",
    "Measured",
    "PreferenceLoss",
    "criterion",
    "measure",
]

Batch = Mapping[str, Tensor]


class Measured(NamedTuple):
    """A model on the validation samples.

    Attributes:
        loss: The criterion's mean.
        accuracy: Share of the preferences that are right; None where there are none.
    """

    loss: float
    accuracy: float | None


class Losses(NamedTuple):
    """Of one batch.

    Attributes:
        values: Of each unit, shape (units,), with a gradient.
        right: How many preferences are; of labels none.
    """

    values: Tensor
    right: Tensor | None


class Criterion(ABC):
    """A loss that is a mean over units, whatever batches they are in.

    Attributes:
        knows_right: Whether a unit may be right or wrong.
    """

    knows_right: ClassVar[bool]

    @abstractmethod
    def count(self, batch: Batch) -> int:
        """The units of a batch."""

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> Losses:
        """Their losses; the batch is on the CPU, the model on the device."""


@final
class LabelLoss(Criterion):
    """Nats per label."""

    knows_right = False

    def count(self, batch: Batch) -> int:
        return count_labels(batch)

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> Losses:
        return Losses(label_losses(model, batch, device), None)


@final
@dataclass(frozen=True)
class PreferenceLoss(Criterion):
    """Nats per preference, or what the loss has in their place.

    Attributes:
        beta: How much a ratio counts.
        loss: One of `LOSSES`.
    """

    knows_right = True

    beta: float
    loss: str

    def count(self, batch: Batch) -> int:
        return len(batch["labels"]) // 2

    def losses(self, model: nn.Module, batch: Batch, device: torch.device) -> Losses:
        h = ratios(model, batch, device)
        return Losses(LOSSES[self.loss](h, self.beta), (h.margin > 0).sum())


def criterion(settings: TrainingSettings) -> Criterion:
    """What is lowered with these settings."""
    if settings.method == "sft":
        return LabelLoss()
    return PreferenceLoss(settings.beta, settings.loss_type)


def measure(
    model: nn.Module,
    samples: Samples,
    *,
    pad_id: int,
    micro_batch: int,
    accelerator: Accelerator,
    criterion: Criterion | None = None,
) -> Measured:
    """Over all samples; independent of `micro_batch` to float rounding.

    Args:
        model: The unwrapped model; it is left in the mode (training or not) it came in.
        samples: Each has a label; preferences have their reference.
        pad_id: The id that fills short rows.
        micro_batch: Samples per forward, at most; a matter of speed and memory only.
        accelerator: Gives device, autocast and ranks. Every rank must call this, and gets the same
            numbers.
        criterion: None is `LabelLoss`.
    """
    criterion = criterion or LabelLoss()
    was_training = model.training
    model.eval()
    size = per_forward(len(samples), micro_batch, accelerator.num_processes)
    share = share_of(by_length(samples, size), accelerator)
    total = torch.zeros(3, dtype=torch.float64)  # loss, units, those that are right
    with torch.no_grad(), accelerator.autocast():
        for batch, weight in share:
            found = criterion.losses(model, collate(batch, pad_id), accelerator.device)
            right = 0.0 if found.right is None else float(found.right)
            values = found.values.cpu().double()
            total += weight * torch.tensor([values.sum(), values.numel(), right])
    model.train(was_training)
    loss, units, right = _over_ranks(total, accelerator).tolist()
    return Measured(float(loss / units), right / units if criterion.knows_right else None)


def _over_ranks(total: Tensor, accelerator: Accelerator) -> Tensor:
    if accelerator.num_processes == 1:
        return total  # stays on the CPU: not every accelerator has float64
    reduced: Tensor = accelerator.reduce(total.to(accelerator.device), "sum")
    return reduced
