"""One run of one entrant on one problem; knows no file and no table."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import time
import warnings

from benchmarks.compare.results import Line
from benchmarks.curves import entrants
from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Entrant
from benchmarks.curves.simulate import Job
from benchmarks.curves.simulate import Workshop


@dataclass(frozen=True)
class Task:
    """What identifies a run; its budget is in full trainings."""

    sampler: str
    family: str
    instance: str
    shift: int
    seed: int
    workers: int
    budget: int

    def line(self) -> Line:
        return {"kind": "run", **asdict(self)}


class Timed:
    """An entrant and the real time it takes, asks and reports apart."""

    def __init__(self, entrant: Entrant) -> None:
        self._entrant = entrant
        self.asks = self.reports = 0
        self.ask_seconds = self.report_seconds = 0.0

    def ask(self) -> Job | None:
        began = time.perf_counter()
        job = self._entrant.ask()
        self.asks += 1
        self.ask_seconds += time.perf_counter() - began
        return job

    def report(self, job: Job, step: int, loss: float) -> bool:
        began = time.perf_counter()
        stop = self._entrant.report(job, step, loss)
        self.reports += 1
        self.report_seconds += time.perf_counter() - began
        return stop

    def end(self, job: Job, value: float | None) -> None:
        began = time.perf_counter()
        self._entrant.end(job, value)
        self.ask_seconds += time.perf_counter() - began

    def figures(self) -> Line:
        return {
            "asks": self.asks,
            "reports": self.reports,
            "ask_seconds": round(self.ask_seconds, 3),
            "report_seconds": round(self.report_seconds, 3),
        }


def run(task: Task, curves: Curves) -> Line:
    """The task's line with what came of it.

    `finished` are full trainings as they ended: steps paid until then, simulated time, noise-free
    value. `stopped` are the noise-free values that the trainings which were stopped and never
    taken up again would have reached.

    Raises:
        NotAvailable: The entrant cannot be used here.
    """
    budget = task.budget * curves.steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = entrants.maker(task.sampler)(curves, task.seed, budget, task.workers)
        timed = Timed(made)
        workshop = Workshop(curves, timed, task.seed, budget)
        workshop.work(task.workers)
    stopped = sorted(each.training.final for each in workshop.shelf.stopped.values())
    return {
        **task.line(),
        "steps": curves.steps,
        "spent": workshop.spent,
        "time": workshop.time,
        "finished": [[each.spent, each.time, each.final] for each in workshop.finished],
        "stopped": stopped,
        **timed.figures(),
    }
