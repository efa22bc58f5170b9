"""One adapter of a pack: its learner, its place, its checkpoint; runs no forward itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace

from torch import nn
from torch import Tensor

from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.pack.layers import Draws
from objectives.pack.layers import NAME
from objectives.pack.layers import Pair
from objectives.pack.layers import take_pairs
from objectives.scoring.losses import count_labels
from objectives.training.checkpoint import Checkpoint
from objectives.training.learner import Batch
from objectives.training.learner import Learner


__all__ = ["Member", "MicroBatch"]


@dataclass(frozen=True)
class MicroBatch:
    """Samples of one adapter.

    Attributes:
        tensors: On the CPU.
        weight: One over the labels of the whole step.
        last: Whether the step ends with it.
    """

    tensors: Batch
    weight: float
    last: bool


class Member:
    """A learner in a pack.

    Attributes:
        learner: With its adapter, once it has its place.
        checkpoint: Written at each validation; None keeps none.
        pairs: Of its adapter; none before it has begun.
        draws: Its random numbers; there once it has begun.
        place: Its number among those on the base.
        nats: Of the step that is under way.
    """

    draws: Draws

    def __init__(self, learner: Learner, checkpoint: Checkpoint | None) -> None:
        self.learner, self.checkpoint = learner, checkpoint
        self.pairs: dict[str, Pair] = {}
        self.place = 0
        self.nats: list[Tensor] = []
        self._micro_batches = _micro_batches(learner)
        self._goal = 0

    def begin(self) -> None:
        """Makes exactly the adapter that `loop.train` begins with; the base is bare again."""
        learner, bench = self.learner, self.learner.bench
        new_adapter(bench, learner.settings, learner.chosen)
        self.draws = Draws(bench.accelerator.device)
        self.pairs = take_pairs(bench.base, self.draws)
        release(bench, bench.base)
        parameters: dict[str, nn.Parameter] = {}
        for name, pair in self.pairs.items():  # as they are in the base when peft has them there
            parameters[f"{name}.lora_A.{NAME}.weight"] = pair.A
            parameters[f"{name}.lora_B.{NAME}.weight"] = pair.B
        learner.begin(parameters)

    def resume(self) -> None:
        """Goes on from its checkpoint, if there is one, once its adapter is on the base."""
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is not None:
            self.learner.resume(state)
            self.draws.restore(state.generators[0])

    def save(self) -> None:
        """Writes its checkpoint."""
        if self.checkpoint is not None:
            self.checkpoint.save(replace(self.learner.state(), generators=[self.draws.states]))

    def aim(self) -> None:
        """Its next part ends with its next validation."""
        ahead = [step for step in self.learner.due if step > self.learner.steps_done]
        self._goal = min(ahead, default=0)

    @property
    def is_behind(self) -> bool:
        """Whether it has not done its part."""
        return self.learner.is_learning and self.learner.steps_done < self._goal

    def next_micro_batch(self) -> MicroBatch:
        """In the order of its own training."""
        return next(self._micro_batches)


def _micro_batches(learner: Learner) -> Iterator[MicroBatch]:
    """All of one adapter's training, in its order."""
    for batches in learner.batches():
        labels = sum(count_labels(batch) for batch in batches)
        for i, batch in enumerate(batches, start=1):
            yield MicroBatch(batch, 1 / labels, last=i == len(batches))
