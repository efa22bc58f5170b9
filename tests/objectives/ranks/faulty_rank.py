"""A rank that meets faults: `python faulty_rank.py PLAN PIPE`, PLAN being JSON.

{"rank": 1, "faults": {"4": "kill"}}: rank 1 is killed in trial 4, in the forward that follows the
first validation. "little memory" is for one sample per forward and no more, "some memory" for
eight.
"""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

import torch

from objectives.gang import rank
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Report
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.settings.config import Experiment
from objectives.training.runner import load_runner


PLAN: dict[str, Any] = json.loads(sys.argv.pop(1))
Hook = Callable[[object, tuple[torch.Tensor, ...]], None]


def no_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def little_memory(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
    if len(arguments[0]) > 1:
        no_memory()


def some_memory(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
    if len(arguments[0]) > 8:
        no_memory()


def kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(*_: object) -> None:
    time.sleep(1000)


def mistake(*_: object) -> None:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


HOOKS: dict[str, Hook] = {
    "no memory": no_memory,
    "little memory": little_memory,
    "some memory": some_memory,
    "kill": kill,
    "hang": hang,
    "mistake": mistake,
}


class Faulty:
    """Runs jobs as they are, but for those of the plan."""

    def __init__(self, experiment: Experiment, cache: Path | None, test: bool) -> None:
        self._run = load_runner(experiment, cache, test=test)
        self.examine, self.ask = self._run.examine, self._run.ask
        self.samples_fingerprint = self._run.samples_fingerprint
        self.notes, self.direction = self._run.notes, self._run.direction
        self._bench: Bench = self._run._bench

    def __call__(self, job: Job, report: Report) -> Outcome:
        fault = PLAN["faults"].get(str(job.trial))
        if fault is None or self._bench.accelerator.process_index != PLAN["rank"]:
            return self._run(job, report)
        armed = []

        def arm(validation: Validation) -> bool:
            stop = report(validation)
            if not armed:
                embeddings = self._bench.base.get_input_embeddings()
                armed.append(embeddings.register_forward_pre_hook(HOOKS[fault]))
            return stop

        try:
            return self._run(job, arm)
        finally:
            for hook in armed:
                hook.remove()


if __name__ == "__main__":
    rank.main(Faulty)
