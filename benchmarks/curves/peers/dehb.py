"""DEHB (Awad et al. 2021), asked and told; imports it when made.

It evolves points of the unit cube and names a fidelity for each, which is rounded to a step. A
point that it promotes keeps its hyperparameters, so that its training goes on.
"""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.compare.unit import at
from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Job


class DEHBEntrant:
    """One job at a time or several: it is asked by hand and starts no workers of its own."""

    def __init__(self, curves: Curves, seed: int, budget: int, workers: int) -> None:
        from dehb import DEHB
        from loguru import logger

        logger.remove()
        assert curves.instance.space is not None
        self._axes, self._steps = curves.instance.space, curves.steps
        self._folder = tempfile.TemporaryDirectory()  # it writes down what it found
        self._dehb: Any = DEHB(
            dimensions=len(self._axes),
            min_fidelity=1,
            max_fidelity=curves.steps,
            n_workers=1,
            seed=seed,
            save_freq="end",
            output_path=self._folder.name,
        )

    def ask(self) -> Job:
        told = self._dehb.ask()
        pairs = zip(self._axes.items(), told["config"], strict=True)
        params = {name: at(axis, float(unit)) for (name, axis), unit in pairs}
        return Job(params, min(max(round(told["fidelity"]), 1), self._steps), told)

    def report(self, job: Job, step: int, loss: float) -> bool:
        return False

    def end(self, job: Job, value: float | None) -> None:
        self._dehb.tell(job.tag, {"fitness": value, "cost": float(job.until)})
