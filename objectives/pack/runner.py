"""Trains the jobs of a pack on a bench and saves each adapter; scores none, and knows no trial."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
import torch

from objectives.job import Ended
from objectives.job import Job
from objectives.job import Join
from objectives.job import OutOfMemory
from objectives.job import Report
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack.packed import as_peft
from objectives.pack.packed import check_packable
from objectives.pack.packed import Pack
from objectives.pack.packed import train_pack
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import PEFT_DEFAULTS
from objectives.settings.sections.targets import ALL_LINEAR
from objectives.training.checkpoint import checkpoint_of
from objectives.training.checkpoint import fingerprint
from objectives.training.learner import Learner


__all__ = ["PackRunner", "check_pack", "pack_size"]

ON_CPU = 4  # saves most of what a pack saves there: the overhead of small operations
LARGEST = 8  # trials asked for together do not learn from each other
FREE = 0.8  # share of the memory: the allocator needs some for itself


class PackRunner:
    """Pack after pack on one bench."""

    def __init__(self, experiment: Experiment, bench: Bench) -> None:
        """Args:
        experiment: The settings that all jobs have in common.
        bench: Loaded with the same experiment.
        """
        self._experiment, self._bench = experiment, bench

    def __call__(self, join: Join) -> Iterator[tuple[Job, Ended]]:
        """See `RunPack`. While an end is told, the base carries nothing."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        new = join(0)
        micro_batch = new[0][0].micro_batch
        settings = self._experiment.training.model_copy(update={"micro_batch": micro_batch})
        pack, work = Pack(self._bench, settings), dict[Learner, tuple[Job, Report]]()
        bare = fingerprint(self._bench.base)  # before the first adapter is on it
        try:
            while new or len(pack):
                for job, report in new:
                    learner = Learner(self._bench, settings, job.chosen)
                    work[learner] = job, report
                    pack.join(learner, checkpoint_of(self._bench, settings, job, lambda: bare))
                for learner, validation in pack.part():
                    if work[learner][1](validation):
                        learner.prune()
                ended = pack.leave()
                for learner in ended:  # all, before the first of them is scored
                    self._save(work[learner][0], learner)
                for learner in ended:
                    yield work.pop(learner)[0], learner.ended
                new = join(len(pack)) if len(pack) else []
        finally:
            release(self._bench, self._bench.base)

    def _save(self, job: Job, learner: Learner) -> None:
        if isinstance(learner.ended, Training):
            save_adapter(as_peft(learner), Path(job.adapter))
            release(self._bench, self._bench.base)


def check_pack(experiment: Experiment, bench: Bench) -> None:
    """Before the first trial: each kind of adapter that trials may have, in a small pack.

    Raises:
        UserError: It cannot be packed.
    """
    searched = experiment.search.targets is not None
    for targets in experiment.values_of("targets") if searched else (None,):
        chosen = replace(PEFT_DEFAULTS, targets=None if targets is None else str(targets))
        check_packable([Learner(bench, experiment.training, chosen) for _ in range(2)])


def pack_size(experiment: Experiment, bench: Bench) -> int:
    """Adapters that fit on the bench's GPU together; a small fixed number on a CPU.

    Trains the largest adapter of the search space for one step on the longest samples. What that
    takes, activations and optimizer, is what every adapter of a pack takes.
    """
    if bench.accelerator.device.type != "cuda":
        return ON_CPU
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    if isinstance(_one_step(experiment, bench), OutOfMemory):
        return 1
    each = torch.cuda.max_memory_allocated() - before
    cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    free = torch.cuda.mem_get_info()[0] + cached
    return max(1, min(LARGEST, int(FREE * free / each)))


def _one_step(experiment: Experiment, bench: Bench) -> Ended:
    size = experiment.training.micro_batch
    by_length = sorted(bench.corpus.train, key=len)
    longest = tuple(by_length[-size:])
    corpus = replace(bench.corpus, train=longest, validation=longest)
    settings = experiment.training.model_copy(update={"epochs": 1.0, "validations": 1})
    chosen = replace(_largest(experiment), effective_batch=len(longest))
    learner = Learner(replace(bench, corpus=corpus), settings, chosen)
    try:
        deque(train_pack([learner]), maxlen=0)
    finally:
        release(bench, bench.base)
    return learner.ended


def _largest(experiment: Experiment) -> Hyperparameters:
    space = experiment.search_space()
    return experiment.hyperparameters({name: _high(d) for name, d in space.items()})


def _high(distribution: BaseDistribution) -> object:
    """The largest number; of names the one of most modules, each of which keeps its input."""
    if not isinstance(distribution, CategoricalDistribution):
        return distribution.high  # type: ignore[attr-defined]
    numbers = [c for c in distribution.choices if isinstance(c, int | float)]
    if numbers:
        return max(numbers)
    return ALL_LINEAR if ALL_LINEAR in distribution.choices else distribution.choices[0]
