"""Scores the trained adapters of a pack in one pass; reads their folders, writes nothing.

Every forward goes over the rows of all adapters (see `objectives.pack.layers`), on a CPU over
those of one. lm-eval makes a score of each adapter's log-likelihoods, as it does of those of an
adapter alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
import logging
import math
from pathlib import Path
import time
from typing import Any

from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import PackOutcome
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import release
from objectives.model.memory import is_out_of_memory
from objectives.model.memory import peak_memory
from objectives.pack.layers import Draws
from objectives.pack.layers import Layout
from objectives.pack.layers import Pair
from objectives.pack.layers import Part
from objectives.pack.layers import place
from objectives.pack.layers import take_pairs
from objectives.scoring.prefix_forward import Likelihood
from objectives.scoring.prefix_forward import log_likelihoods
from objectives.scoring.prefix_forward import takes_trees
from objectives.scoring.prefix_tree import Plan
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment


__all__ = ["PackScorer", "Packed"]

CPU_ADAPTERS = 1  # in a forward: several do without merged weights, see `lora_linear`

_logger = logging.getLogger(__name__)


class PackScorer:
    """Pack after pack on one bench; what it cannot score together it leaves to others.

    Those are an adapter alone, a task that asks for more than log-likelihoods, a model that takes
    no trees, and as many sequences at once as memory has run out with before.
    """

    def __init__(self, experiment: Experiment, bench: Bench, scorer: Scorer | None) -> None:
        """Args:
        experiment: Its objective is what an adapter is worth.
        bench: Loaded with the same experiment.
        scorer: With the objective's task in it; unused where the objective is the loss.
        """
        self._objective, self._bench, self._scorer = experiment.scoring.objective, bench, scorer
        self._too_many = math.inf  # sequences in a forward

    def __call__(self, jobs: Sequence[Job], trained: Sequence[Training]) -> list[PackOutcome]:
        """Scores the adapters in the jobs' folders; the base is bare before and afterwards.

        Returns:
            For each job `Finished`, `Failed` where its score cannot be made of its likelihoods, or
            its `Training` if it is still to be scored. The `seconds_scoring` are equal parts.

        Raises:
            Exception: No adapter could be scored, and memory was not the reason.
        """
        if self._scorer is None or self._objective == "loss":
            return [Finished(t.validation_loss, t, 0.0, None, peak_memory()) for t in trained]
        if not self._can(jobs, self._scorer):
            return list(trained)
        start = time.perf_counter()
        try:
            scores = self._scores(jobs, self._scorer)
        finally:
            # outside of any except clause, where nothing holds on to a failed pass's tensors
            release(self._bench, self._bench.base)
        seconds = (time.perf_counter() - start) / len(jobs)
        return [_outcome(*each, seconds) for each in zip(scores or trained, trained, strict=True)]

    def _can(self, jobs: Sequence[Job], scorer: Scorer) -> bool:
        return (
            len(jobs) > 1
            and _sequences(jobs) < self._too_many
            and scorer.asks_likelihoods(self._objective)
            and takes_trees(self._bench.base)
        )

    def _scores(self, jobs: Sequence[Job], scorer: Scorer) -> list[Score | Exception] | None:
        """For each its score or why there is none; None if memory ran out."""
        settings = scorer.settings.model_copy(update={"batch": jobs[0].scoring_batch})
        scorer = replace(scorer, settings=settings)
        try:
            packed = Packed(self._bench, [Path(job.adapter) for job in jobs])
            scores = [self._score(scorer, packed, number) for number in range(len(jobs))]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._too_many = _sequences(jobs)
            _logger.warning(
                "out of memory in scoring %d adapters with batch %d each; such packs are scored "
                "one after the other",
                len(jobs),
                jobs[0].scoring_batch,
            )
            return None
        first = scores[0]
        if isinstance(first, Exception) and not any(isinstance(s, Score) for s in scores):
            raise first  # it is not the adapters
        return scores

    def _score(self, scorer: Scorer, packed: Packed, number: int) -> Score | Exception:
        packed.adapter = number
        try:
            return scorer.score(self._bench.base, self._objective, answers=packed)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return error


def _sequences(jobs: Sequence[Job]) -> int:
    return len(jobs) * jobs[0].scoring_batch


def _outcome(score: Score | Exception | Training, training: Training, each: float) -> PackOutcome:
    if isinstance(score, Training):
        return score
    if isinstance(score, Exception):
        return Failed(f"{type(score).__name__} in scoring, after the training: {score}")
    return Finished(score.value, training, each, score.stderr, peak_memory())


class Packed:
    """Saved adapters on a base, and what each answers; see `objectives.scoring.prefix_lm.Answers`.

    Attributes:
        adapters: How many a forward has the rows of.
        adapter: Whose turn it is.
    """

    def __init__(self, bench: Bench, folders: Sequence[Path]) -> None:
        """Puts them on a bare base, frozen and in evaluation mode; `release` takes them off."""
        self._all = range(len(folders))
        on_cpu = bench.accelerator.device.type == "cpu"
        self.adapters = min(len(folders), CPU_ADAPTERS) if on_cpu else len(folders)
        self.adapter = 0
        self._base, self._layout = bench.base, Layout()
        self._plan: Plan | None = None
        self._found: dict[int, list[Likelihood]] = {}
        place(bench.base, {n: _pairs(bench, f) for n, f in enumerate(folders)}, self._layout)
        bench.base.eval()

    def __call__(self, plan: Plan) -> list[Likelihood]:
        """The adapter's log-likelihoods: with the first's all are computed that share forwards."""
        if plan is not self._plan:
            self._plan = plan
            self._found.clear()
        if self.adapter not in self._found:
            start = self.adapter - self.adapter % self.adapters
            group = self._all[start : start + self.adapters]
            with self._laid_out(group):
                found = log_likelihoods(self._base, plan, adapters=len(group))
            self._found.update(zip(group, found, strict=True))
        return self._found[self.adapter]

    @contextmanager
    def _laid_out(self, group: Sequence[int]) -> Iterator[None]:
        """Forwards in this context have an equal share of the rows for each adapter of the group.

        Outside of it the modules know of no rows, and say so.
        """

        def share(_: Any, __: Any, arguments: dict[str, Any]) -> None:
            rows, tokens = arguments["input_ids"].shape
            self._layout.parts = tuple(Part(n, rows // len(group), tokens) for n in group)

        with self._base.register_forward_pre_hook(share, with_kwargs=True):
            try:
                yield
            finally:
                self._layout.parts = ()


def _pairs(bench: Bench, folder: Path) -> dict[str, Pair]:
    load_adapter(bench, folder)
    pairs = take_pairs(bench.base, Draws(bench.accelerator.device))
    release(bench, bench.base)
    return pairs
