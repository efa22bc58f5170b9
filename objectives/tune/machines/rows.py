"""The workers of a study, and what each of them does: values from its trials; draws nothing."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from itertools import groupby
import math
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.tune.progress import counts
from storage import Worker
from storage import worker_of


__all__ = ["Row", "hours", "in_hours", "rows", "summary"]


@dataclass(frozen=True)
class Row:
    """A worker.

    Attributes:
        worker: Its process, name and devices.
        trials: Numbers of those that it runs; several in a pack.
        since: When the first of these began; None where it runs none.
        sign: Of life, the last one that is known.
        done: Trials that it has finished.
        seconds: That it has spent in trials, times its devices.
    """

    worker: Worker
    trials: tuple[int, ...]
    since: datetime | None
    sign: datetime
    done: int
    seconds: float

    @property
    def place(self) -> tuple[str, int, str]:
        """In a list by host and name, with worker 2 before worker 10."""
        return self.worker.host, len(self.name), self.name

    @property
    def name(self) -> str:
        """For people; by it the log is found, where somebody has started the worker."""
        return self.worker.name or f"process {self.worker.process.number}"

    @property
    def device(self) -> str:
        """For people: GPUs by number, or by the beginning of what else they are called."""
        devices = self.worker.devices
        if all(name.isdecimal() for name in devices):
            return f"GPU {', '.join(devices)}" if devices else "CPU"
        return ", ".join(name[:12] for name in devices)


def rows(trials: Iterable[FrozenTrial], heard: Mapping[int, float], now: datetime) -> list[Row]:
    """The workers of a study: those that run a trial, by host and name, then whoever ended last.

    Args:
        trials: All of a study.
        heard: Seconds since the last sign of life of running ones, by number, where it is known.
        now: Local time, as trials have it.
    """
    marked = [(worker, trial) for trial in trials if (worker := worker_of(trial)) is not None]
    marked.sort(key=lambda pair: _key(pair[0]))
    groups = [list(pairs) for _, pairs in groupby(marked, lambda pair: _key(pair[0]))]
    found = [_row(pairs[-1][0], [trial for _, trial in pairs], heard, now) for pairs in groups]
    return sorted(found, key=_order)


def _key(worker: Worker) -> tuple[Any, ...]:
    return worker.process.machine, worker.process.number, worker.process.start


def _order(row: Row) -> tuple[Any, ...]:
    return (0, 0.0, *row.place) if row.trials else (1, -row.sign.timestamp(), *row.place)


def _row(
    worker: Worker, trials: Sequence[FrozenTrial], heard: Mapping[int, float], now: datetime
) -> Row:
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    spans = [(_start(trial), trial.datetime_complete or now) for trial in trials]
    signs = [trial.datetime_complete or _start(trial) for trial in trials]
    signs += [now - timedelta(seconds=heard[t.number]) for t in running if t.number in heard]
    return Row(
        worker=worker,
        trials=tuple(trial.number for trial in running),
        since=min(map(_start, running), default=None),
        sign=max(signs),
        done=sum(map(counts, trials)),
        seconds=_covered(spans) * max(1, len(worker.devices)),
    )


def _start(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None, "somebody runs it or has run it"
    return trial.datetime_start


def _covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds in at least one of them: the trials of a pack share their time."""
    seconds, until = 0.0, datetime.min
    for start, end in sorted(spans):
        seconds += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return seconds


def summary(found: Sequence[Row]) -> str:
    """All workers in a line, for people."""
    running = [row for row in found if row.trials]
    hosts = len({row.worker.host for row in running})
    where = f"{len(running)} running on {hosts} host{'' if hosts == 1 else 's'}"
    return f"{where if running else 'none running'}, {hours(found)} so far"


def hours(found: Sequence[Row]) -> str:
    """What they have spent together, for people."""
    unit = "GPU-hours" if any(row.worker.devices for row in found) else "hours"
    return f"{in_hours(math.fsum(row.seconds for row in found))} {unit}"


def in_hours(seconds: float) -> str:
    """For people, and often the same: a note whose text has not changed is not written."""
    return f"{seconds / 3600:.{1 if seconds >= 3600 else 2}f}"
