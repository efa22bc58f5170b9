"""NLopt, which calls a function and returns at the end, as an Optuna sampler: a process.

The process (`minimise.py`) works over the unit cube; its function hands the point to the sampler
and waits for the value. So it takes one evaluation at a time, which is all NLopt does.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
import math
import subprocess
import sys
from typing import Any
import weakref

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from benchmarks.compare.instance import Space
from benchmarks.compare.unit import at


class BlockingSampler(BaseSampler):
    """Asks NLopt's DIRECT-L in a process; random once that has ended or where trials overlap."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = {name: axis for name, axis in space.items() if not axis.single()}
        self._independent = RandomSampler(seed=seed)
        self._waiting: int | None = None  # the trial whose value the minimiser waits for
        command = [sys.executable, "-m", "benchmarks.compare.minimise"]
        self._process = subprocess.Popen(
            [*command, str(len(self._space))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, _end, self._process)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Space
    ) -> dict[str, Any]:
        if self._waiting is not None:
            return {}
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {}
        self._waiting = trial.number
        pairs = zip(self._space.items(), json.loads(line), strict=True)
        return {name: at(axis, unit) for (name, axis), unit in pairs}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, axis: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, name, axis)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if trial.number == self._waiting:
            self._waiting = None
            assert self._process.stdin is not None
            print(values[0] if values else math.inf, file=self._process.stdin, flush=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
