"""The engine of Ray: each worker is an actor, which outlives whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
import logging
import os
from pathlib import Path
import socket
import time
from typing import Any
from urllib.parse import urlsplit
import uuid

from storage.engines.attended import LOG
from storage.engines.attended import status
from storage.engines.attended import STOPPED
from storage.engines.engine import End
from storage.engines.engine import Ended
from storage.engines.engine import mark
from storage.engines.engine import Worker
from storage.engines.errors import EngineError
from storage.engines.processes import last_words
from storage.engines.ray_actor import end
from storage.engines.ray_actor import known
from storage.engines.ray_actor import LAST
from storage.engines.ray_actor import start
from storage.engines.ray_actor import start_after_workers
from storage.engines.ray_actor import Task
from storage.engines.ray_actor import WAITING
from storage.engines.ray_actor import WORKER
from storage.engines.supervisor import STRIKES


__all__ = ["Ray"]

EARLY_SECONDS = 60.0
PAUSE_SECONDS = 1.0
POLL_SECONDS = 2.0
LATE_SECONDS = 10.0  # for what an actor wrote at its end, on a network file system
ANSWER_SECONDS = 20.0  # of a cluster that is asked for the first time
GIVEN = ("HF_", "HUGGING", "OMP_NUM_THREADS", "PYTORCH_", "TRACKIO_", "WANDB_")
"""What the environment variables of this process begin with that a worker has, too."""


@dataclass
class _Actor:
    """A worker, or what comes last."""

    name: str
    engine: Ray
    handle: Any
    submitted: float = field(default_factory=time.monotonic)
    running: float | None = None  # since when, as far as was seen
    gone: float | None = None
    answer: Any = None  # of its node, once it runs

    @property
    def output(self) -> Path:
        return self.engine.folder / self.name / LOG

    @property
    def log(self) -> str:
        return str(self.output)

    def last_words(self) -> str:
        """Of one that wrote nothing, why Ray could not start it."""
        if self.output.exists():
            return last_words(self.output)
        try:
            self.engine.ray.get(self.handle.node.remote(), timeout=ANSWER_SECONDS)
        except Exception as error:
            return str(error)
        return ""

    def ended(self) -> Ended | None:
        if self.engine.asked <= self.submitted or self.engine.has(self.name):
            return None
        found = status(self.engine.folder / self.name)
        self.gone = self.gone or time.monotonic()
        if found is None and time.monotonic() - self.gone < LATE_SECONDS:
            return None
        lived = 0.0 if self.running is None else time.monotonic() - self.running
        if found is None:
            return Ended(End.DIED, "was killed", lived)
        if found == STOPPED:
            return Ended(End.LEFT, "was cancelled", lived)
        return Ended(End.of(found), f"exited {found}", lived)

    def is_running(self, wait: float = 0.0) -> bool:
        """Whether it has answered."""
        if self.running is None:
            self.answer = self.answer or self.handle.node.remote()
            ready, _ = self.engine.ray.wait([self.answer], timeout=wait)
            self.running = time.monotonic() if ready else None
        return self.running is not None


class Ray:
    """Workers as actors of Ray.

    Args:
        name: Of all actors of a study, their namespace: by it another call finds them.
        command: What a worker runs.
        folder: For logs; all machines see it.
        options: Of an actor: num_cpus, num_gpus, memory, accelerator_type, or a resource of the
            site's own; `address` is the cluster's.

    Raises:
        EngineError: There is no cluster or no ray here, or an option is none.
    """

    early = EARLY_SECONDS
    pause = PAUSE_SECONDS

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, options: Mapping[str, str]
    ) -> None:
        self.folder = folder.absolute()
        self._command, self._worker = tuple(command), mark(command)
        self._options = _actor_options(options)
        self.ray = _connected(options.get("address", "auto"), name)
        self._workers: dict[str, _Actor] = {}
        self._names: set[str] = set()
        self.asked = 0.0  # when Ray was, last

    def start(self, places: Sequence[int]) -> Sequence[Worker]:
        return [self._start(self._command) for _ in places]

    def found(self) -> Sequence[Worker]:
        """Those that run first: an actor that only waits is cheap to send away."""
        found = self._attached(self._known(WORKER))
        found.sort(key=lambda worker: not worker.is_running(wait=1.0))
        return found

    def others(self) -> int:
        return sum(self._worker not in name for name in self._known(WORKER))

    def found_last(self, *, begun: bool) -> Sequence[Worker]:
        names = [*self._known(WAITING), *(self._known(LAST) if begun else [])]
        return self._attached([name.removeprefix(WAITING) for name in names])

    def start_last(self, command: Sequence[str]) -> Worker:
        task = self._task(f"{LAST}{uuid.uuid4().hex[:8]}", command, strikes=1)
        return _Actor(task.name, self, start_after_workers(task, self._options))

    def look(self) -> str | None:
        if time.monotonic() - self.asked > POLL_SECONDS:
            self._ask()
        there = [worker for name, worker in self._workers.items() if self.has(name)]
        if not there:
            return None
        running = sum(worker.is_running() for worker in there)
        waiting = len(there) - running
        told = [f"{running} running"] if running else []
        return f"workers        {', '.join([*told, *([f'{waiting} waiting'] if waiting else [])])}"

    def stop(self, workers: Sequence[Worker], patience: float, hurry: Callable[[], bool]) -> None:
        """At their own pace; nobody waits for it."""
        for worker in workers:
            if isinstance(worker, _Actor):
                end(worker.name, self.folder)
                end(WAITING + worker.name, self.folder)

    def has(self, name: str) -> bool:
        """Whether an actor runs or waits, also one that another waits to start."""
        return name in self._names or WAITING + name in self._names

    def _ask(self) -> None:
        asked = time.monotonic()
        self._names = set(known())
        self.asked = asked

    def _known(self, *beginnings: str) -> list[str]:
        self._ask()
        return sorted(name for name in self._names if name.startswith(beginnings))

    def _attached(self, names: Sequence[str]) -> list[_Actor]:
        """Those of them that have not ended meanwhile, which is a ValueError of Ray's."""
        found = []
        for name in names:
            with suppress(ValueError):
                handle = self.ray.get_actor(name if name in self._names else WAITING + name)
                found.append(_Actor(name, self, handle, submitted=0.0))
        self._workers.update({a.name: a for a in found if a.name.startswith(WORKER)})
        return found

    def _start(self, command: Sequence[str]) -> _Actor:
        name = f"{WORKER}{self._worker}-{uuid.uuid4().hex[:8]}"
        actor = _Actor(name, self, start(self._task(name, command, STRIKES), self._options))
        self._workers[name] = actor
        return actor

    def _task(self, name: str, command: Sequence[str], strikes: int) -> Task:
        given = {key: value for key, value in os.environ.items() if key.startswith(GIVEN)}
        return Task(name, tuple(command), self.folder, os.getcwd(), given, strikes)


def _actor_options(given: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"num_cpus": 1.0}
    for name, value in given.items():
        if name == "accelerator_type":
            found[name] = value
        elif name in ("num_cpus", "num_gpus", "memory"):
            found[name] = _number(name, value)
        elif name != "address":
            found.setdefault("resources", {})[name] = _number(name, value)
    return found


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise EngineError(
            f"--ray {name}={value}: must be a number of what Ray shares out; for example "
            "num_gpus=1 or num_cpus=4"
        ) from None


def _connected(address: str, namespace: str) -> Any:
    try:
        import ray
    except ImportError:
        raise EngineError(
            '--on ray: ray is missing; install it with `pip install "optuna-partition[ray]"`'
        ) from None
    if ray.is_initialized():
        ray.shutdown()
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _check_answers(address)
        ray.init(address, namespace=namespace, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0].rstrip(".")
        raise EngineError(
            f"--on ray: no cluster answers at {address} ({said}); start one with `ray start "
            '--head`, or give its address as --ray "address=ray://host:10001"'
        ) from None
    return ray


def _check_answers(address: str) -> None:
    """At once: Ray itself waits for minutes."""
    if address == "auto":
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        raise ValueError("it must be host:port, or ray://host:port")
    socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_SECONDS).close()
