"""A rank of a gang: loads once and runs the jobs that come over its pipe, until the pipe closes.

    python -m objectives.gang.rank 7             # by `supervisor`, with the pipe as file 7
    python -m objectives.gang.rank node1:40123   # by a launcher, see `launched`

With more than one rank it finds the others by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT, as Accelerate reads them. It ends with its gang, whatever became of that: the kernel
closes the pipes of a process that was killed.
"""

from __future__ import annotations

from collections.abc import Callable
import gc
from multiprocessing.connection import Client
from multiprocessing.connection import Connection
import os
from pathlib import Path
from queue import SimpleQueue
import socket
import sys
import threading
from typing import Any
from typing import Protocol

from objectives.errors import UserError
from objectives.gang.wire import Hello
from objectives.gang.wire import KEY
from objectives.gang.wire import Mistake
from objectives.gang.wire import Raised
from objectives.gang.wire import Ready
from objectives.gang.wire import Setup
from objectives.job import Exam
from objectives.job import Questions
from objectives.job import Trainer
from objectives.job import Validation
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import Direction
from objectives.starting import importing


__all__ = ["main"]


class Loaded(Trainer, Protocol):
    """What runs the jobs.

    Attributes:
        samples_fingerprint: Of the corpus.
        notes: What the user should know before the first training, a line each.
        direction: Of the objective.
    """

    samples_fingerprint: str
    notes: tuple[str, ...]
    direction: Direction


Load = Callable[[Experiment, Path | None, bool], Loaded]


def main(load: Load | None = None) -> None:
    """Serves the gang that started this process.

    Args:
        load: Gives what runs the jobs, and, if asked to, exams; by default
            `objectives.training.runner.load_runner`.
    """
    link = _Link(_pipe(sys.argv[1]))  # before the heavy imports: the gang may be gone by then
    try:
        _serve(link, load or _load_runner)
    except UserError as error:
        link.send(Mistake(str(error)))
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        link.send(Raised(f"{type(error).__name__}: {reason}"))
        raise  # the traceback is for the log


def _serve(link: _Link, load: Load) -> None:
    setup: Setup = link.receive()
    trainer = load(setup.experiment, setup.cache, setup.test)
    gc.freeze()  # every trial ends with a collection, which need not look at what stays
    link.send(Ready(trainer.samples_fingerprint, trainer.notes, trainer.direction))

    def report(validation: Validation) -> bool:
        if setup.rank == 0:
            link.send(validation)
        return bool(link.receive())

    while True:
        work = link.receive()
        if isinstance(work, Questions):
            link.send(trainer.ask(work))
        else:
            link.send(trainer.examine(work) if isinstance(work, Exam) else trainer(work, report))


def _load_runner(experiment: Experiment, cache: Path | None, test: bool) -> Loaded:
    with importing():
        from objectives.training.runner import load_runner
    return load_runner(experiment, cache, test=test)


def _pipe(where: str) -> Connection:
    if where.isdecimal():
        return Connection(int(where))
    host, _, port = where.rpartition(":")
    pipe = Client((host, int(port)), authkey=bytes.fromhex(os.environ[KEY]))
    rank, ranks = (int(os.environ.get(*each)) for each in (("RANK", "0"), ("WORLD_SIZE", "1")))
    pipe.send(Hello(rank, ranks, socket.gethostname()))
    return pipe


class _Link:
    """This end of the pipe, read by a thread that notices when the other end is closed."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._heard: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: object) -> None:
        self._pipe.send(message)

    def receive(self) -> Any:
        return self._heard.get()

    def _listen(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (OSError, EOFError):
                os._exit(1)  # wherever the main thread is
            if message is None:
                os._exit(0)
            self._heard.put(message)


if __name__ == "__main__":
    main()
