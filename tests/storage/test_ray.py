"""storage.engines.ray on a real cluster of two nodes: actors die, are found, are sent away."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any
import uuid

from backends import opened
from cheap_search import all_wait
from cheap_search import check_nothing_is_lost
from cheap_search import in_state
from cheap_search import open_gate
from cheap_search import process
from cheap_search import REPORT
from cheap_search import SEARCH
from cheap_search import TRIALS
from cheap_search import until
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

import storage
from storage.engines.engine import End
from storage.engines.errors import EngineError
from storage.engines.ray import Ray
from storage.engines.supervisor import Crew


ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node for two workers, and another one for one."""
    ray = pytest.importorskip("ray", reason="no ray: install the extra ray")
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 2, "include_dashboard": False}
        found = utils.Cluster(initialize_head=True, head_node_args=head)
        found.add_node(num_cpus=1)
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def engine(cluster: Any, tmp_path: Path) -> Callable[..., Ray]:
    """Makes an engine for a command."""
    name = f"tests-{uuid.uuid4().hex[:8]}"

    def engine(*command: str) -> Ray:
        code = [sys.executable, "-W", "ignore", "-c", *command]
        return Ray(name, code, tmp_path / "actors", {"address": cluster.address})

    return engine


def supervisor(pid: int) -> int:
    """The process that has started a worker: an actor's."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def actor_of(trial: FrozenTrial, engine: Ray) -> Any:
    """The handle of the actor whose worker runs a trial."""
    assert (worker := storage.worker_of(trial)) is not None
    return engine.ray.get_actor(f"worker-{worker.name}")


def test_whatever_befalls_the_actors_no_point_is_lost_or_repeated(
    engine: Callable[..., Ray], tmp_path: Path
) -> None:
    """A worker is killed, an actor's process, and an actor for good; a second call attaches."""
    report, url = tmp_path / "report", f"sqlite:///{tmp_path}/study.db"
    with opened(url) as backend:
        study = optuna.create_study(study_name="one", storage=backend)
        command = (SEARCH, url, str(TRIALS), str(gate := tmp_path / "gate"))
        ray = engine(*command)
        ray.start(range(3))
        ray.start_last([sys.executable, "-c", REPORT, str(report)])
        trials = until(lambda: all_wait(study, 3))
        processes = [process(trial) for trial in trials]
        os.kill(processes[0], signal.SIGKILL)
        os.kill(supervisor(processes[1]), signal.SIGKILL)
        attached = engine(*command)
        said: list[str] = []
        crew, found = Crew(attached, 3, said.append), attached.found()
        (last,) = attached.found_last(begun=True)
        assert not crew.adopt(found, 0) and len(crew.workers) == 3
        attached.ray.kill(actor_of(trials[2], attached))
        assert not report.exists(), "before the workers have ended"
        open_gate(gate, processes)
        assert not crew.run(lambda: len(in_state(study, TrialState.COMPLETE)), [])
        ended = until(lambda: (attached.look(), last.ended())[1])
        assert ended.end is End.DONE and report.read_text() == "made"
        check_nothing_is_lost(study, faults=3, workers=4)
        workers = [worker for trial in study.trials if (worker := storage.worker_of(trial))]
        logs = {folder.name for folder in (tmp_path / "actors").glob("worker-*")}
        assert {f"worker-{worker.name}" for worker in workers} <= logs and len(workers) >= TRIALS
    assert [line for line in said if "was killed, started again" in line]
    assert list(attached.found()) == [] and not attached.found_last(begun=True)


def test_those_that_wait_are_sent_away_first_and_others_end_in_order(
    engine: Callable[..., Ray], tmp_path: Path
) -> None:
    code = """
import os, pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def end(*_):
    here.joinpath("ended").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
here.joinpath(f"ready-{os.getpid()}").touch()
time.sleep(600)
"""
    ray = engine(code, str(tmp_path))
    workers = [*ray.start([0, 1, 2, 3]), ray.start_last(["true"])]
    until(lambda: (ray.look() or "").endswith("3 running, 1 waiting"))
    found = engine(code, str(tmp_path)).found()
    waits = next(w for w in workers[:4] if not Path(w.log).exists())
    assert [worker.log for worker in found[3:]] == [waits.log]
    until(lambda: len([*tmp_path.glob("ready-*")]) == 3)
    ray = engine(code, str(tmp_path))
    assert engine("other", str(tmp_path)).others() == 4
    gone = [*ray.found(), *ray.found_last(begun=True)]
    assert len(gone) == 5
    ray.stop(gone, 0.0, lambda: True)
    for worker in gone:
        ended = until(lambda: (ray.look(), worker.ended())[1])  # noqa: B023
        assert ended.end is End.LEFT
    assert (tmp_path / "ended").exists()


def test_more_trials_have_a_last_one_of_their_own_once_that_before_has_begun(
    engine: Callable[..., Ray], tmp_path: Path
) -> None:
    """A final test that runs knows nothing of them; another one comes after it."""
    ray, gate, report = engine(""), tmp_path / "gate", tmp_path / "report"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.1)"
    first = ray.start_last([sys.executable, "-c", code])
    until(lambda: not ray.found_last(begun=False))
    assert [each.log for each in ray.found_last(begun=True)] == [first.log]
    last = ray.start_last([sys.executable, "-c", REPORT, str(report)])
    assert len(ray.found_last(begun=False)) == 1 and len(ray.found_last(begun=True)) == 2
    time.sleep(3)
    assert not report.exists()
    gate.touch()
    ended = until(lambda: (ray.look(), last.ended())[1])
    assert ended.end is End.DONE and report.exists() and not ray.found_last(begun=True)


def test_what_cannot_be_started_says_why_and_leaves_no_actor(cluster: Any, tmp_path: Path) -> None:
    """As on a node that lacks the interpreter: the search showed it as running for ever."""
    none = [str(tmp_path / "python")]
    ray = Ray(f"tests-{uuid.uuid4().hex[:8]}", none, tmp_path, {"address": cluster.address})
    for worker in (*ray.start([0]), ray.start_last(none)):
        ended = until(lambda: (ray.look(), worker.ended())[1])  # noqa: B023
        assert (ended.end, ended.how) == (End.DIED, "exited 1")
        assert f"No such file or directory: '{none[0]}'" in worker.last_words()
    assert list(ray.found()) == [] and not ray.found_last(begun=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_gpus": "all"}, "--ray num_gpus=all: must be a number"),
        ({"address": "127.0.0.1:1"}, "no cluster answers at 127.0.0.1:1"),
        ({"address": "ray://127.0.0.1:1"}, "no cluster answers at ray://127.0.0.1:1"),
        ({"address": "head"}, "no cluster answers at head"),
        ({"address": "head:ten"}, "no cluster answers at head:ten"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, given: dict[str, str], message: str) -> None:
    pytest.importorskip("ray", reason="no ray: install the extra ray")
    with pytest.raises(EngineError, match=message):
        Ray("tests-none", ["true"], tmp_path, given)


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r'pip install "optuna-partition\[ray\]"'):
        Ray("tests-none", ["true"], tmp_path, {})
