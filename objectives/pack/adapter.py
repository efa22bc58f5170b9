"""One adapter of a pack on its way: its samples, optimizer, schedule, losses; reads no file.

What `lora.train` has in its variables, so that several adapters can be at different steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

import torch
from torch import nn
from torch import Tensor

from objectives.data.corpus import count_steps
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.pack.batches import micro_batches
from objectives.pack.batches import MicroBatch
from objectives.pack.layers import Draws
from objectives.pack.layers import Pair
from objectives.pack.layers import take_pairs
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings
from objectives.training import lora
from objectives.training.update import learning_rate_schedule


__all__ = ["PackedAdapter", "Weights"]

Weights = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a module in the base -> A and B there."""


@dataclass
class PackedAdapter:
    """One adapter on its way.

    Attributes:
        number: In the pack.
        chosen: Its hyperparameters.
        n_steps: Optimizer steps in all.
        due: Step -> part of the training that is validated after it.
        clip: Largest norm of its gradient.
        pairs: Name of a module in the base -> A and B there.
        parameters: All A and B.
        optimizer: Of these parameters alone.
        schedule: Of its learning rate.
        micro_batches: Its samples, from the first step to the last.
        nats: Loss of each micro-batch of the step that is under way.
        losses: Training loss of every step done, nats per label token.
        validated: Validation losses so far.
        tokens: Tokens read so far, padding left out.
    """

    number: int
    chosen: Hyperparameters
    n_steps: int
    due: dict[int, int]
    clip: float
    pairs: dict[str, Pair]
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    micro_batches: Iterator[MicroBatch]
    nats: list[Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    validated: list[float] = field(default_factory=list)
    tokens: int = 0

    @classmethod
    def make(
        cls, number: int, bench: Bench, settings: TrainingSettings, chosen: Hyperparameters
    ) -> PackedAdapter:
        """Exactly the adapter that `lora.train` begins with; the base is bare again."""
        new_adapter(bench, settings, chosen)
        pairs = take_pairs(bench.base, Draws(bench.accelerator.device))
        release(bench, bench.base)
        parameters = [p for pair in pairs.values() for p in pair.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True
        )
        n_steps = count_steps(len(bench.corpus.train), chosen.effective_batch, settings.epochs)
        return cls(
            number=number,
            chosen=chosen,
            n_steps=n_steps,
            due=lora.validation_steps(n_steps, settings.validations),
            clip=settings.clip,
            pairs=pairs,
            parameters=parameters,
            optimizer=optimizer,
            schedule=learning_rate_schedule(optimizer, settings, n_steps),
            micro_batches=micro_batches(bench, settings, chosen),
        )

    @property
    def steps(self) -> int:
        """Optimizer steps done."""
        return len(self.losses)

    def learn(self, batch: MicroBatch, nats: Tensor) -> None:
        """What follows the backward: the optimizer's step, if the micro-batch ends one.

        Args:
            batch: The micro-batch.
            nats: Its loss, summed over its labels, detached.

        Raises:
            lora.Diverged: The step's loss is not finite; the weights are those before it.
        """
        self.nats.append(nats)
        self.tokens += int(batch.tensors["attention_mask"].sum())
        if not batch.last:
            return
        loss = float(torch.stack(self.nats).sum()) * batch.weight
        lora.check_finite(loss, "training", self.steps + 1, self.n_steps, self.chosen)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)
        self.nats.clear()

    def weights(self) -> Weights:
        """A and B as they are now, on the CPU."""
        return {n: (p.A.detach().cpu(), p.B.detach().cpu()) for n, p in self.pairs.items()}
