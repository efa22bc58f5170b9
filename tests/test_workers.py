"""Several processes on one study: exactly one live trial per point, on every storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import sys
import time
import uuid

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from worker import opened
from worker import SAMPLERS
from worker import SPACE


HERE = Path(__file__).parent
POSTGRES = "OPTUNA_PARTITION_POSTGRES"
MYSQL = "OPTUNA_PARTITION_MYSQL"

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def server(variable: str) -> str:
    """The URL of a server, from the environment."""
    url = os.environ.get(variable)
    if not url:
        pytest.skip(f"no server: set {variable} to a database URL")
    return url


@pytest.fixture(params=["sqlite", "journal", "grpc", "postgres", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage that processes can share, as `worker.opened` reads it."""
    kind: str = request.param
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
    elif kind == "journal":
        yield f"journal:{tmp_path}/study.log"
    elif kind == "grpc":
        with proxy(f"sqlite:///{tmp_path}/behind.db") as address:
            yield address
    else:
        yield server(POSTGRES if kind == "postgres" else MYSQL)


@contextlib.contextmanager
def proxy(url: str) -> Iterator[str]:
    """Optuna's gRPC server in front of a database."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    code = (
        "import sys, optuna, storage; optuna.storages.run_grpc_proxy_server("
        "storage.open(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, url, str(port)],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port).wait_server_ready(timeout=60)
        yield f"grpc:127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}


def start(
    url: str, name: str, trials: int, seconds: float = 0.0, sampler: str = "soo"
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, HERE / "worker.py", sampler, url, name, str(trials), str(seconds)],
        env=environment(),
    )


def ended(url: str, name: str) -> list[FrozenTrial]:
    """The study's trials; the connection is given back."""
    backend = opened(url)
    try:
        return optuna.load_study(study_name=name, storage=backend).trials
    finally:
        if isinstance(backend, optuna.storages.RDBStorage):
            backend.engine.dispose()
        elif isinstance(backend, optuna.storages.GrpcStorageProxy):
            backend.close()


def points(trials: list[FrozenTrial]) -> Counter[tuple[object, ...]]:
    """How often each point was given out, to trials that lived to have all parameters."""
    whole = [trial for trial in trials if trial.params.keys() == SPACE.keys()]
    return Counter(tuple(sorted(trial.params.items())) for trial in whole)


@pytest.mark.parametrize("sampler", ["soo", "direct"])
def test_no_point_is_evaluated_twice(url: str, sampler: str) -> None:
    name = f"study-{uuid.uuid4().hex[:8]}"
    processes = [start(url, name, trials=60, sampler=sampler) for _ in range(4)]
    assert [process.wait(timeout=300) for process in processes] == [0] * 4
    trials = ended(url, name)
    assert len(trials) >= 60
    assert [point for point, times in points(trials).items() if times > 1] == []


@pytest.mark.parametrize("sampler", ["soo", "direct"])
def test_killed_workers_lose_nothing(url: str, sampler: str) -> None:
    """Workers are killed at random moments and replaced; their points are asked for again."""
    name = f"study-{uuid.uuid4().hex[:8]}"
    processes = [start(url, name, 50, 0.05, sampler) for _ in range(4)]
    chance = random.Random(0)
    for _ in range(4):
        time.sleep(chance.uniform(1.0, 2.0))
        victim = chance.choice([p for p in processes if p.poll() is None] or processes)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        processes.append(start(url, name, 50, 0.05, sampler))
    for process in processes:
        process.wait(timeout=300)
    final = start(url, name, 50, 0.05, sampler)  # its start frees the last one's trial
    final.wait(timeout=300)
    trials = ended(url, name)
    lost = [trial for trial in trials if trial.state is TrialState.FAIL and trial.params]
    live = points([trial for trial in trials if trial.state is not TrialState.FAIL])
    assert [point for point, times in live.items() if times > 1] == []
    soon = live + next_points(url, name, sampler, count=len(lost) + 2)
    assert [trial.params for trial in lost if not came_again(trial, soon)] == []


def next_points(url: str, name: str, sampler: str, count: int) -> Counter[tuple[object, ...]]:
    """What the next asks would get: the study may have ended before a lost point's turn came."""
    study = optuna.create_study(sampler=SAMPLERS[sampler](search_space=dict(SPACE)))
    study.add_trials([t for t in ended(url, name) if t.state.is_finished()])
    return points([study.ask(dict(SPACE))._get_latest_trial() for _ in range(count)])


def came_again(lost: FrozenTrial, live: Counter[tuple[object, ...]]) -> bool:
    """Whether the point of a trial whose worker was killed is evaluated, or the next to be."""
    return any(set(lost.params.items()) <= set(point) for point in live)
