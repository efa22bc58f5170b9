"""What an actor of Ray runs: a worker and its supervisor, in a thread; ray is imported in use.

Actors are detached: they outlive whoever made them, and Ray starts them anew elsewhere when their
process or node dies. Whoever has nothing left to do ends itself.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import sys
import threading
import time
import traceback
from typing import Any

from storage._process import NAME
from storage.engines.attended import Attended
from storage.engines.attended import LOG
from storage.engines.attended import status
from storage.engines.attended import STOPPED
from storage.engines.attended import write_status


__all__ = ["LAST", "WAITING", "WORKER", "Task", "known", "start", "start_after_workers"]

WORKER, LAST, WAITING = "worker-", "last-", "waiting-"
"""What names of actors begin with: of a worker, what comes last, and who waits to start that."""
ANSWER_SECONDS = 5.0  # for an actor that is there, and not itself waiting for its turn
LOOK_SECONDS = 1.0
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Task:
    """What is run.

    Attributes:
        name: Of the actor, and of the folder for its log.
        command: What its worker runs.
        folder: For what the actors of a study write.
        working: The working directory.
        environment: Added to that of Ray's processes.
        strikes: Deaths in a row after which the worker is given up.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    working: str
    environment: Mapping[str, str]
    strikes: int


def start(task: Task, options: Mapping[str, Any]) -> Any:
    """The handle of a new actor, which waits where Ray has no room yet.

    Args:
        task: What it runs.
        options: What Ray is to give it.
    """
    return _actor(task.name, options).remote(ROOT, "run", vars(task))


def start_after_workers(task: Task, options: Mapping[str, Any]) -> Any:
    """The same once there is none of these; until then an actor waits that takes no room."""
    name = WAITING + task.name
    return _actor(name, {"num_cpus": 0}).remote(ROOT, "run_after_workers", vars(task), options)


def known() -> list[str]:
    """Names of the actors that run or wait."""
    import ray

    return list(ray.util.list_named_actors())


def _actor(name: str, options: Mapping[str, Any]) -> Any:
    import ray

    class Actor:
        """Pickled whole, with no type of ours: a node finds this file by the first argument."""

        def __init__(self, root: str, run: str, task: dict[str, Any], *arguments: Any) -> None:
            import sys

            sys.path.insert(0, root)
            from storage.engines import ray_actor

            self.told = ray_actor.in_a_thread(run, ray_actor.Task(**task), *arguments)

        def node(self) -> str:
            import socket

            return socket.gethostname()

        def end(self) -> None:
            self.told.append(1)

    fixed = {"name": name, "lifetime": "detached", "max_restarts": -1}
    return ray.remote(Actor).options(**fixed, **options)


def in_a_thread(run: str, *arguments: Any) -> list[int]:
    """Runs `_run` or `_run_after_workers`; something in the list tells it to end."""
    told: list[int] = []
    functions: dict[str, Callable[..., None]] = {
        "run": _run,
        "run_after_workers": _run_after_workers,
    }
    thread = threading.Thread(
        target=_and_end, args=(functions[run], told, *arguments), daemon=True
    )
    thread.start()
    return told


def _and_end(run: Callable[..., None], told: Sequence[int], task: Task, *arguments: Any) -> None:
    """The actor ends with its thread: one that is left without would seem to run for ever."""
    try:
        run(told, task, *arguments)
    except Exception:
        with suppress(OSError):  # of a folder that this node does not see
            _write_error(task.folder / task.name)
    finally:
        _end_this()


def _write_error(folder: Path) -> None:
    """Where the worker's own would be: a command that does not exist writes none."""
    if status(folder) is None:
        write_status(folder, 1)
    with (folder / LOG).open("a") as log:
        log.write(traceback.format_exc())


def _run(told: Sequence[int], task: Task) -> None:
    os.environ.update(task.environment, **{NAME: task.name.removeprefix(WORKER)})
    os.chdir(task.working)
    attended = Attended(task.command, task.folder / task.name, strikes=task.strikes)
    if attended.run(told) == 0 and task.name.startswith(WORKER):
        _end_who_waits(task)


def _run_after_workers(told: Sequence[int], task: Task, options: Mapping[str, Any]) -> None:
    while not told and any(name.startswith((WORKER, LAST)) for name in known()):
        time.sleep(LOOK_SECONDS)
    if told:
        write_status(task.folder / task.name, STOPPED)
    else:
        start(task, options)


def _end_who_waits(task: Task) -> None:
    """Nothing is left to do: the last one need not wait until they have had their turn."""
    others = [name for name in known() if name.startswith(WORKER) and name != task.name]
    for name in others:
        end(name, task.folder, only_waiting=True)


def end(name: str, folder: Path, only_waiting: bool = False) -> None:
    """Ends an actor: one that runs in its own way, one that waits at once.

    Args:
        name: Of the actor.
        folder: Of the study's actors.
        only_waiting: Whether one that runs is to go on.
    """
    import ray

    try:
        actor = ray.get_actor(name)
    except ValueError:  # Ray's word for: it has ended
        return
    ready, _ = ray.wait([actor.node.remote()], timeout=ANSWER_SECONDS)
    if not ready:
        write_status(folder / name.removeprefix(WAITING), STOPPED)
        ray.kill(actor, no_restart=True)
    elif not only_waiting:
        actor.end.remote()


def _end_this() -> None:
    import ray

    sys.stdout.flush()
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
