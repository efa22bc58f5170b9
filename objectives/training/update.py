"""One optimizer step in two halves, and the state it leaves behind; reads and writes no file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
import math
from typing import Any
from typing import TYPE_CHECKING

from accelerate import Accelerator
from peft import PeftModel
import torch
from torch import nn
from torch import Tensor
from transformers import get_scheduler

from objectives.data.corpus import IGNORED
from objectives.model.sharded import beside_ddp
from objectives.model.sharded import is_sharded
from objectives.scoring.score import label_losses
from objectives.scoring.score import share_of
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings


if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["Batch", "Update", "learning_rate_schedule"]

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """One optimizer step in two halves, with all that it needs."""

    accelerator: Accelerator
    model: nn.Module  # as prepared: under DDP this is not the PeftModel
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    clip: float

    @classmethod
    def prepare(
        cls,
        accelerator: Accelerator,
        model: PeftModel,
        settings: TrainingSettings,
        chosen: Hyperparameters,
        n_steps: int,
    ) -> Update:
        model.train()
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            fused=True,
        )
        if accelerator.scaler is not None:  # the trial before has left its scale there
            accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        # not prepared: Accelerate would step it once per process
        scheduler = learning_rate_schedule(optimizer, settings, n_steps)
        if is_sharded(model):  # Accelerate refuses such a model on GPUs
            prepared: nn.Module = beside_ddp(model)
        else:
            prepared = accelerator.prepare(model)
        return cls(accelerator, prepared, accelerator.prepare(optimizer), scheduler, settings.clip)

    def gradients(self, batches: list[Batch]) -> float:
        """Backward over all micro-batches of a step; the step's loss in nats per label token.

        Every rank sees the list of the whole step and takes its share, so the number of labels is
        known without asking the others.
        """
        ranks = self.accelerator.num_processes
        labels = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)
        share = share_of(batches, self.accelerator)
        total = torch.zeros((), device=self.accelerator.device)
        for i, (batch, weight) in enumerate(share, start=1):
            with self._sync(last=i == len(share)):
                nats = weight * self._nats(batch)
                # DDP takes the mean over the ranks; the sum is wanted
                self.accelerator.backward(nats * ranks / labels)
            total += nats.detach()
        return float(self.accelerator.reduce(total, "sum")) / labels

    def _nats(self, batch: Batch) -> Tensor:
        with self.accelerator.autocast():
            return label_losses(self.model, batch, self.accelerator.device).sum()

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between ranks once per step, with the last micro-batch."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def apply(self) -> None:
        """Clips, steps, and moves the learning rate on."""
        # the optimizer's list: to ask the model takes 1 % of a step
        trainable = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.accelerator.clip_grad_norm_(trainable, self.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on, the base and the random numbers left out.

        Its tensors are the live ones: write them down before the next step.
        """
        scaler = self.accelerator.scaler  # there is one where the base is float16
        return {
            "adapter": {name: p.detach() for name, p in self._adapter()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where a `state` of the same training was taken."""
        with torch.no_grad():
            for name, parameter in self._adapter():
                parameter.copy_(state["adapter"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _adapter(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, n_steps: int
) -> LRScheduler:
    """transformers' schedules, in optimizer steps; the warm-up rounded up as its Trainer does.

    Its first step has a learning rate of 0, so that a training of one step would learn nothing:
    the last step is never of the warm-up.
    """
    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    warmup = min(math.ceil(settings.warmup * n_steps), n_steps - 1)
    scheduler: LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=n_steps
    )
    return scheduler
