"""What is searched: a problem whose evaluations are curves, a frozen value. Knows no sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
import random

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params


Curve = tuple[float, ...]  # the losses after step 1, 2, ... of a training
Noise = Callable[[Params, Curve, random.Random], Curve]


@dataclass(frozen=True)
class Training:
    """One training of one assignment, known beforehand to the end.

    Args:
        final: Its last loss without noise: what it is judged by.
        losses: After each step, as measured.
        reports: What a pruner is told after each step.
        seconds: Of a step, in simulated time.
    """

    final: float
    losses: Curve
    reports: Curve
    seconds: float

    def answer(self, step: int) -> float:
        """The value of a trial that was to have so many steps; the loss where these are all."""
        return self.losses[-1] if step == len(self.losses) else self.reports[step - 1]


@dataclass(frozen=True)
class Curves:
    """A problem with whole curves, to be minimised at their ends.

    Args:
        instance: Its names, its search space, and the noise-free value at the end.
        steps: Of a full training.
        curve: The noise-free losses of an assignment.
        seconds: Of a step with an assignment.
        noise: From an assignment, its curve and a source of chance to what is measured.
        falling: Whether reports are the smallest loss so far, as the project's objective has it.
    """

    instance: Instance
    steps: int
    curve: Callable[[Params], Curve]
    seconds: Callable[[Params], float]
    noise: Noise | None = None
    falling: bool = False

    def train(self, params: Params, seed: int, attempt: int) -> Training:
        """The same at every call: who goes on with a training goes on with its own curve."""
        exact = self.curve(params)
        losses = exact
        if self.noise is not None:
            where = self.instance.family, self.instance.name, self.instance.shift
            chance = random.Random(f"{where} {seed} {identity(params)} {attempt}")
            losses = self.noise(params, exact, chance)
        reports = tuple(accumulate(losses, min)) if self.falling else losses
        return Training(exact[-1], losses, reports, self.seconds(params))


Identity = tuple[tuple[str, object], ...]


def identity(params: Params) -> Identity:
    """What two assignments have in common that are the same training."""
    return tuple(sorted(params.items()))
