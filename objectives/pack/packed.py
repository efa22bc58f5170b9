"""Trains several adapters at once on a bench's base; reads and writes no file but checkpoints.

    pack = Pack(bench, settings)
    pack.join(Learner(bench, settings, chosen))                     as often as there are places
    while len(pack):
        for learner, validation in pack.part(): ...
        for learner in pack.leave():                                those that have ended
            model = as_peft(learner)                                to save it or to score it
            release(bench, bench.base)                              see objectives/model/bench.py
        pack.join(...)                                              in a place that is free now

One forward and one backward go over the rows of all adapters (on a CPU, of as many as its cache
takes). Each has its own `Learner`, random numbers and gradient, so its losses are those of
`loop.train` with the same hyperparameters, dropout included, but for float rounding: less than
1e-5 nats in float32, some 1e-3 in bfloat16. The one thing that they share is dropout that the base
itself has, as GPT-2 does and Llama does not.

    round      one micro-batch of every adapter; one forward, or one for each group of a CPU's
    step       of one adapter: as many rounds as its effective batch takes
    part       the rounds until everybody's next validation, where those that are first wait for
               the others; adapters that have joined later are at other validations of their own
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import time

from peft import PeftModel
import torch
from torch import Tensor
from torch.nn import functional as F

from objectives.data.corpus import collate
from objectives.data.corpus import IGNORED
from objectives.errors import UserError
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.memory import DeviceFull
from objectives.model.memory import raising_device_full
from objectives.pack.layers import Layout
from objectives.pack.layers import Noise
from objectives.pack.layers import Part
from objectives.pack.layers import place
from objectives.pack.member import Member
from objectives.pack.member import MicroBatch
from objectives.scoring.losses import by_length
from objectives.scoring.losses import count_labels
from objectives.scoring.losses import label_losses
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint import Checkpoint
from objectives.training.learner import Batch
from objectives.training.learner import Learner


__all__ = ["Pack", "as_peft", "check_packable", "grouped_by_tokens", "train_pack"]

CPU_TOKENS = 1024  # of a forward; with more, a CPU core takes longer for each


def train_pack(learners: Sequence[Learner]) -> Iterator[tuple[int, Validation]]:
    """Trains learners together until all have ended; nobody joins them. See `Pack`.

    Yields:
        Which learner, and its validation. One that is pruned there leaves the pack.
    """
    pack = Pack(learners[0].bench, learners[0].settings)
    for learner in learners:
        pack.join(learner)
    while len(pack):
        for learner, validation in pack.part():
            yield learners.index(learner), validation
        pack.leave()


def check_packable(learners: Sequence[Learner]) -> None:
    """Before anything is trained: one forward of these adapters with the shortest sample.

    Raises:
        UserError: See `Pack`.
    """
    bench = learners[0].bench
    pack = Pack(bench, learners[0].settings)
    for learner in learners:
        pack.join(learner)
    try:
        pack.try_out()
    finally:
        release(bench, bench.base)


def as_peft(learner: Learner) -> PeftModel:
    """Puts a trained adapter on the base, where peft and lm-eval know it; `release` takes it off.

    Args:
        learner: From a pack that is no longer on the base.
    """
    base = learner.bench.base
    model = new_adapter(learner.bench, learner.settings, learner.chosen)
    with torch.no_grad():
        for name, trained in learner.parameters.items():
            base.get_parameter(name).copy_(trained)
    return model


def _check_process(bench: Bench) -> None:
    if bench.accelerator.num_processes > 1:
        raise UserError("--pack: a pack is trained by one process; leave --gpus-per-trial out")
    if bench.accelerator.scaler is not None:
        raise UserError(
            "--pack: float16 scales the loss by one factor, and adapters need one each; "
            'write dtype = "bfloat16" under [model], or leave --pack out'
        )


class Pack:
    """Learners that train together, each from its first step to its last, or until it is pruned.

    All have one bench, in a process that trains alone, and the same settings, whose `micro_batch`
    counts each adapter's samples. Between two parts the base carries them, unless somebody has
    just left: then it is bare until the next part.

    Raises:
        UserError: When a part begins: adapters in this process, or these, cannot be packed.
    """

    def __init__(self, bench: Bench, settings: TrainingSettings) -> None:
        self._bench, self._settings = bench, settings
        self._layout = Layout()
        self._members: list[Member] = []
        self._placed: list[Member] = []  # those on the base

    def __len__(self) -> int:
        return len(self._members)

    def join(self, learner: Learner, checkpoint: Checkpoint | None = None) -> None:
        """A new learner takes part in what comes; see `loop.train` for its checkpoint."""
        self._members.append(Member(learner, checkpoint))

    def leave(self) -> list[Learner]:
        """Those that have ended, in the order in which they joined; the base is then bare."""
        ended = [member.learner for member in self._members if not member.learner.is_learning]
        if ended:
            self._members = [m for m in self._members if m.learner.is_learning]
            self._take_off()
        return ended

    def part(self) -> Iterator[tuple[Learner, Validation]]:
        """Trains everybody to the next validation.

        Yields:
            Each learner with its validation; those of an earlier training that it goes on from
            come first. One that is pruned there, is done or has failed is to `leave`. When memory
            runs out, that is the end of all that were still learning.
        """
        _check_process(self._bench)
        try:
            with raising_device_full():
                yield from self._part()
        except DeviceFull:
            for member in self._members:
                if member.learner.is_learning:
                    member.learner.run_out_of_memory(len(self))

    def try_out(self) -> None:
        """One forward of all."""
        _check_process(self._bench)
        self._place()
        shortest = min(self._bench.corpus.train, key=len)
        batch = collate([shortest], self._bench.corpus.pad_id)
        with torch.no_grad():
            self._losses(self._members, [batch] * len(self))

    def _part(self) -> Iterator[tuple[Learner, Validation]]:
        for member in self._place():
            for validation in tuple(member.learner.validations):
                if member.learner.is_learning:
                    yield member.learner, validation
            _finish_if_done(member.learner)
        for member in self._members:
            member.aim()
        while behind := [member for member in self._members if member.is_behind]:
            with self._timed(behind):
                self._round(behind)
        if due := [member for member in self._members if member.learner.is_learning]:
            with self._timed(due):
                losses = self._validate(due)
            for member, loss in zip(due, losses, strict=True):
                yield from self._validated(member, loss)

    def _place(self) -> list[Member]:
        """Puts everybody on the base; those that are new there."""
        if self._placed == self._members:
            return []
        start = time.perf_counter()
        self._take_off()
        self._placed = list(self._members)
        new = [member for member in self._members if not member.pairs]
        for member in new:
            member.begin()
        for number, member in enumerate(self._members):
            member.place = number
        self._layout = Layout()
        place(self._bench.base, [member.pairs for member in self._members], self._layout)
        self._make_noise()
        self._bench.base.train()
        for member in new:
            member.resume()
        for member in new:
            member.learner.seconds_setup = (time.perf_counter() - start) / len(new)
        return new

    def _make_noise(self) -> None:
        alphas = [member.learner.own.neftune_noise_alpha for member in self._members]
        if any(alphas):
            noise = Noise(alphas, [member.draws for member in self._members], self._layout)
            hook = self._bench.base.get_input_embeddings().register_forward_hook(noise)
            self._bench.undo.callback(hook.remove)

    def _take_off(self) -> None:
        if self._placed:
            release(self._bench, self._bench.base)
        self._placed = []

    @contextmanager
    def _timed(self, members: Sequence[Member]) -> Iterator[None]:
        start = time.perf_counter()
        yield
        for member in members:
            member.learner.seconds += (time.perf_counter() - start) / len(members)

    def _round(self, members: Sequence[Member]) -> None:
        """A micro-batch of each, and the steps that end with it."""
        batches = [member.next_micro_batch() for member in members]
        for group in self._groups([batch.tensors for batch in batches]):
            self._learn([members[i] for i in group], [batches[i] for i in group])

    def _learn(self, members: Sequence[Member], batches: Sequence[MicroBatch]) -> None:
        """One forward, one backward, the steps that end with it."""
        nats = self._losses(members, [batch.tensors for batch in batches])
        # gradients stay apart in a sum: no weight that learns is in more than one of its terms
        weighted = [each * batch.weight for each, batch in zip(nats, batches, strict=True)]
        self._bench.accelerator.backward(torch.stack(weighted).sum())
        for member, batch, each in zip(members, batches, nats, strict=True):
            member.nats.append(each.detach())
            if batch.last:
                loss = float(torch.stack(member.nats).sum()) * batch.weight
                member.nats.clear()
                member.learner.step(loss)

    def _groups(self, batches: Sequence[Batch]) -> list[list[int]]:
        """Which batches go through the base together: all, or what stays in a CPU's cache."""
        if self._bench.accelerator.device.type != "cpu":
            return [list(range(len(batches)))]
        return grouped_by_tokens(batches, CPU_TOKENS)

    def _losses(self, members: Sequence[Member], batches: Sequence[Batch]) -> list[Tensor]:
        """Of each adapter on its batch, in nats, summed over the labels."""
        accelerator = self._bench.accelerator
        self._layout.parts = tuple(
            Part(member.place, *batch["input_ids"].shape)
            for member, batch in zip(members, batches, strict=True)
        )
        with accelerator.autocast():
            rows = _joined(batches, self._bench.corpus.pad_id)
            losses = label_losses(self._bench.base, rows, accelerator.device)
        labels = [count_labels(batch) for batch in batches]
        return [part.sum() for part in torch.split(losses, labels)]

    def _validate(self, members: Sequence[Member]) -> list[float]:
        """Validation losses as `criterion.measure` gives them, of all in one pass."""
        self._bench.base.eval()
        nats, labels = torch.zeros(len(members), dtype=torch.float64), 0
        with torch.no_grad():
            for samples in by_length(self._bench.corpus.validation, self._settings.micro_batch):
                batch = collate(samples, self._bench.corpus.pad_id)
                batches = [batch] * len(members)
                for group in self._groups(batches):
                    each = self._losses([members[i] for i in group], [batches[i] for i in group])
                    nats[group] += torch.stack(each).cpu()
                labels += count_labels(batch)
        self._bench.base.train()
        return (nats / labels).tolist()

    def _validated(self, member: Member, loss: float) -> Iterator[tuple[Learner, Validation]]:
        learner = member.learner
        if learner.validated(loss):
            member.save()
            yield learner, learner.validations[-1]
            _finish_if_done(learner)


def _finish_if_done(learner: Learner) -> None:
    if learner.is_learning and learner.steps_done == learner.n_steps:
        learner.finish()


def grouped_by_tokens(batches: Sequence[Batch], most: int) -> list[list[int]]:
    """Indices of the batches in groups, those alike in length together.

    Args:
        batches: At least one.
        most: Tokens of a group that has more than one batch, padding to its longest included.
    """
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    groups: list[list[int]] = []
    rows = 0
    for i in sorted(range(len(batches)), key=lambda i: -lengths[i]):
        rows += len(batches[i]["input_ids"])
        if not groups or rows * lengths[groups[-1][0]] > most:
            groups.append([])
            rows = len(batches[i]["input_ids"])
        groups[-1].append(i)
    return groups


def _joined(batches: Sequence[Batch], pad_id: int) -> Batch:
    """One batch of all rows, padded on the right to the longest."""
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    padding = {"input_ids": pad_id, "attention_mask": 0, "labels": IGNORED}
    return {
        name: torch.cat(
            [F.pad(b[name], (0, longest - b[name].shape[1]), value=value) for b in batches]
        )
        for name, value in padding.items()
    }
