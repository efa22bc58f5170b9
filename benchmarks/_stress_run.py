"""One run of stress.py: a study, its workers, what befalls them, and the figures afterwards."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import random
import signal
import statistics
import sys
import tempfile
import time
import uuid

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from benchmarks._stress_checks import judge
from benchmarks._stress_checks import Verdict
from benchmarks._stress_servers import Server
from benchmarks._stress_servers import STORAGES
from benchmarks._stress_worker import INFERRED
from benchmarks._stress_worker import SAMPLERS
from benchmarks._stress_worker import space
import storage


WORKER = Path(__file__).with_name("_stress_worker.py")
MOST = 0.9  # of the trials: until then workers are killed, and the clock runs
EARLY_SECONDS = 0.0  # a worker that was killed was well, however young, if trials were finished


@dataclass(frozen=True)
class Plan:
    """One run.

    Args:
        sampler: A name in `SAMPLERS`.
        processes: Workers at a time.
        trials: Finished trials at the end.
        kills: Workers to kill.
        restart: Whether the server crashes once, when half of the trials are finished.
        seed: Of the moments.
    """

    sampler: str
    processes: int = 8
    trials: int = 300
    kills: int = 10
    restart: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What a run showed.

    Args:
        seconds: From the start of the first trial until most of them were complete: at the end
            workers wait for the trials of dead ones.
        asks: Seconds of each ask that came to its end.
        refused: Claims on points that another trial held.
        killed: Workers killed.
        died: Workers that died of something else: the outage.
        restarted: Whether the server crashed.
    """

    sampler: str
    trials: int
    seconds: float
    asks: tuple[float, ...]
    refused: int
    killed: int
    died: int
    restarted: bool
    verdict: Verdict

    def summary(self) -> dict[str, object]:
        """Figures by name; quantiles of the asks in milliseconds."""
        figures = asdict(self)
        del figures["asks"]
        verdict = figures.pop("verdict")
        quantiles = statistics.quantiles(self.asks, n=100, method="inclusive")
        asks = {f"ask_p{p}_ms": round(1e3 * quantiles[p - 1], 1) for p in (50, 95, 99)}
        rate = round(MOST * self.trials / self.seconds, 1)
        return {**figures, **verdict, "trials_per_second": rate, **asks}


class Fire:
    """Kills workers and lets the server crash, at moments that depend on how far the run is."""

    def __init__(self, plan: Plan, server: Server, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._plan, self._server, self._folder, self._pool = plan, server, folder, pool
        self._chance = random.Random(plan.seed)
        last = MOST * plan.trials
        self._moments = sorted(self._chance.uniform(0, last) for _ in range(plan.kills))
        self.killed = 0
        self.restart: Future[None] | None = None

    def look(self) -> int:
        """Called again and again; how many evaluations there were."""
        done = sum(map(len, _figures(self._folder).values()))
        while self.killed < len(self._moments) and self._moments[self.killed] <= done:
            if not self._kill():
                break
        if self._plan.restart and self.restart is None and done >= self._plan.trials / 2:
            if self._server.restart is not None:
                self.restart = self._pool.submit(self._server.restart)
        return done

    def _kill(self) -> bool:
        """Kills one worker, whatever it is doing; false when none runs."""
        running = [pid for pid in _figures(self._folder) if _is_running(pid)]
        if not running:
            return False
        time.sleep(self._chance.uniform(0, 0.1))
        os.kill(self._chance.choice(running), signal.SIGKILL)
        self.killed += 1
        return True


def _is_running(pid: int) -> bool:
    """Whether a child of ours is: the number of one that was waited for may be someone else's."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _figures(folder: Path) -> dict[int, list[str]]:
    """Process -> the lines it wrote."""
    return {int(file.stem): file.read_text().splitlines() for file in folder.glob("*.jsonl")}


def run(plan: Plan, server: Server, show: Callable[[int], object] = lambda done: None) -> Result:
    """Runs a study under fire and checks it.

    Args:
        show: Called several times a second with the number of evaluations.

    Raises:
        KeyboardInterrupt: A signal stopped the workers.
        storage.workers.WorkersFailed: Each worker died three times in a row.
    """
    name = f"stress-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        fire = Fire(plan, server, Path(folder), pool)
        deaths = _work(plan, server.url, name, fire, Path(folder), show)
        if fire.restart is not None:
            fire.restart.result()
        figures = [json.loads(line) for lines in _figures(Path(folder)).values() for line in lines]
    trials, searched = _ended(server.url, name), space(plan.trials)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return Result(
        sampler=plan.sampler,
        trials=len(complete),
        seconds=_seconds(complete),
        asks=tuple(figure["ask"] for figure in figures),
        refused=sum(figure["refused"] for figure in figures),
        killed=fire.killed,
        died=len([death for death in deaths if signal.SIGKILL.name not in death]),
        restarted=fire.restart is not None,
        verdict=judge(
            trials,
            SAMPLERS[plan.sampler](searched),
            searched,
            inferred=plan.sampler.endswith(INFERRED),
        ),
    )


def _work(
    plan: Plan, url: str, name: str, fire: Fire, folder: Path, show: Callable[[int], object]
) -> list[str]:
    """Runs the workers to their end; a line about each death."""
    deaths: list[str] = []

    def look() -> int:
        done = fire.look()
        show(done)
        return done

    words = [plan.sampler, url, name, plan.trials, folder]
    stopped = storage.workers.run(
        [sys.executable, str(WORKER), *map(str, words)],
        plan.processes,
        logs=folder / "logs",
        look=look,
        say=deaths.append,
        early=EARLY_SECONDS,
    )
    if stopped:
        raise KeyboardInterrupt
    return deaths


def _ended(url: str, name: str) -> list[FrozenTrial]:
    """The study's trials, those of dead workers failed; the connection is given back."""
    backend = storage.open(url)
    try:
        study = optuna.load_study(study_name=name, storage=backend)
        storage.recover(study)
        return study.trials
    finally:
        if isinstance(backend, optuna.storages.RDBStorage):
            backend.engine.dispose()
        elif isinstance(backend, optuna.storages.GrpcStorageProxy):
            backend.close()


def _seconds(complete: list[FrozenTrial]) -> float:
    start = min(t.datetime_start for t in complete if t.datetime_start is not None)
    ends = sorted(t.datetime_complete for t in complete if t.datetime_complete is not None)
    return (ends[math.ceil(MOST * len(ends)) - 1] - start).total_seconds()


@contextmanager
def serving(kind: str) -> Iterator[Server]:
    """A storage of a kind, in a temporary folder that database servers may enter."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, kind)
        Path(top).chmod(0o755)
        folder.mkdir()
        with STORAGES[kind](folder) as server:
            yield server
