"""No point twice and none lost: random spaces, given or inferred, many trials in flight."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
import hashlib
import itertools
import math
from pathlib import Path
import random
import socket
import sys
from typing import Any

from beliefs import Nearests
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy
from optuna.storages import RDBStorage
from optuna.storages._grpc.server import make_server
from optuna.trial import FrozenTrial
import pytest
import sqlalchemy as sa


sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks._stress_spaces import Found
from benchmarks._stress_spaces import go
from benchmarks._stress_spaces import random_space
from benchmarks._stress_spaces import Run
from benchmarks._stress_spaces import SAMPLERS as RANDOM_SPACES
from benchmarks._stress_spaces import Space
from benchmarks._stress_spaces import WIDTHS
from optuna_partition._core import cells
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._space.space import Space as Axes
from optuna_partition._study import claims
from optuna_partition._study.ask import PartitionSampler
from optuna_partition._study.claims import _table


RULE = BaMSOO(Nearests())
SAMPLERS = {  # a real model would take minutes; `benchmarks/stress.py --spaces` has it
    **RANDOM_SPACES,
    "bamsoo": lambda space: PartitionSampler(RULE, search_space=space, seed=0),
}
CLEAN = Found(repeated=0, lost=0)


@pytest.mark.parametrize("name", SAMPLERS)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    is_given=st.booleans(),
    width=st.sampled_from(WIDTHS),
)
def test_no_point_comes_twice_and_none_is_lost(
    name: str, seed: int, is_given: bool, width: int
) -> None:
    space = random_space(random.Random(seed))
    soon = is_given and name == "soo"  # points before the space is known are no cells
    run = Run(SAMPLERS[name], space, is_given, width, trials=70, seed=seed, soon=soon)
    assert go(run) == CLEAN


MIXED: Space = {  # the first trial takes the root's centre before there is a tree
    "a": FloatDistribution(-14.222189064977073, -3.088499499629018),
    "b": FloatDistribution(1e-5, 1.7e-2, log=True),
    "c": CategoricalDistribution(["p", "q", "r"]),
    "n": IntDistribution(1, 32),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("width", [2, 6, 9])
def test_the_first_point_of_an_inferred_space_is_a_point_like_others(
    name: str, width: int
) -> None:
    assert go(Run(SAMPLERS[name], MIXED, given=False, width=width, trials=60)) == CLEAN


@pytest.mark.parametrize("name", SAMPLERS)
def test_asks_on_an_inferred_finite_space_differ_before_any_value_is_known(name: str) -> None:
    space: Space = {"x": IntDistribution(0, 4), "y": IntDistribution(0, 4)}
    study = optuna.create_study(sampler=SAMPLERS[name](None))
    trials = [study.ask() for _ in range(25)]
    points = {tuple(t._suggest(n, d) for n, d in space.items()) for t in trials}
    assert len(points) == 25


def test_a_space_of_two_points_that_is_inferred_is_covered() -> None:
    study = optuna.create_study(sampler=SAMPLERS["soo"](None))
    points = {study.ask().suggest_categorical("c", ["a", "b"]) for _ in range(2)}
    assert points == {"a", "b"}


class Interleaved:
    """Several workers on one study, one operation of one of them at a time."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self.study, self.space = study, space
        self.running: list[optuna.Trial] = []
        self.points: list[tuple[object, ...]] = []

    def step(self, worker: int) -> None:
        """The worker's next operation: an ask, a suggestion, or the end of its trial."""
        if worker >= len(self.running):
            self.running.append(self.study.ask())
            return
        trial = self.running[worker]
        lacking = [name for name in self.space if name not in trial.params]
        if lacking:
            trial._suggest(lacking[0], self.space[lacking[0]])
            return
        self.points.append(tuple(trial.params[name] for name in self.space))
        self.study.tell(self.running.pop(worker), float(len(self.points) % 3))


STALLED = [int(worker) for worker in "000122222333334444456672145724234566736000"]
"""The first worker has two of four parameters while the others evaluate what those leave it."""


@pytest.mark.parametrize("name", ["soo", "direct-l"])
@settings(max_examples=30)
@given(
    workers=st.lists(st.integers(0, 7), min_size=40, max_size=160),
    sides=st.lists(st.integers(2, 4), min_size=2, max_size=4),
)
@example(workers=STALLED, sides=[2, 2, 2, 2])
def test_workers_that_begin_together_on_a_finite_space_get_different_points(
    name: str, workers: list[int], sides: list[int]
) -> None:
    """Wherever each is when the space becomes known to the others."""
    space: Space = {f"x{i}": IntDistribution(1, side) for i, side in enumerate(sides)}
    search = Interleaved(optuna.create_study(sampler=SAMPLERS[name](None)), space)
    for worker in workers:
        if len(search.points) + len(search.running) < math.prod(sides):
            search.step(worker)
    assert len(set(search.points)) == len(search.points)


@pytest.mark.parametrize("name", ["soo", "direct-l"])
def test_threads_cover_a_small_space_without_being_given_it(name: str) -> None:
    for _ in range(5):
        study = optuna.create_study(sampler=SAMPLERS[name](None))
        study.optimize(
            lambda t: float(t.suggest_int("x", 0, 4) + t.suggest_int("y", 0, 4)),
            n_trials=25,
            n_jobs=4,
        )
        points = {(t.params["x"], t.params["y"]) for t in study.trials}
        assert len(points) == len(study.trials) == 25


class Looks(RDBStorage):
    """Counts how often the trials are read."""

    n = 0

    def _get_trials(self, *place: Any, **named: Any) -> list[FrozenTrial]:
        self.n += 1
        return super()._get_trials(*place, **named)


def test_a_point_that_another_worker_has_costs_one_look_at_the_trials(tmp_path: Path) -> None:
    """A look reads all that run: a thousand trials where there are a thousand workers."""
    space: Space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    storage = Looks(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=storage, sampler=RANDOM_SPACES["soo"](space))
    first = study.ask(space)
    alone = storage.n
    study.tell(first, 1.0)
    study._storage.create_new_trial(study._study_id)  # a worker that has claimed and not said so
    name = Axes(space).point_name(cells.centre(Axes(space).axes, ((1, 0), (0, 0))))
    key = hashlib.sha256(name.encode()).hexdigest()
    with storage.engine.begin() as connection:
        connection.execute(sa.insert(_table).values(study_id=study._study_id, point=key, trial=1))
    before = storage.n
    assert study.ask(space).params["x"] != 1 / 6
    assert storage.n - before == alone + 1
    storage.engine.dispose()


# ---- workers on the database and workers on a proxy in front of it ----


STEPS = (
    "_get_trials",
    "get_all_trials",
    "set_trial_system_attr",
    "get_study_system_attrs",
    "set_study_system_attr",
)


class Stepped:
    """A storage that lets somebody else work before one of its steps."""

    left, meanwhile = -1, staticmethod(lambda: None)

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.meanwhile()


def stepped(kind: type[Any]) -> type[Any]:
    def step(name: str) -> Callable[..., Any]:
        def take(self: Any, *place: Any, **named: Any) -> Any:
            self.step()
            return getattr(kind, name)(self, *place, **named)

        return take

    names = (name for name in STEPS if hasattr(kind, name))
    return type(f"Stepped{kind.__name__}", (Stepped, kind), {name: step(name) for name in names})


@pytest.fixture
def both(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A database, and a real proxy in front of it."""
    url = f"sqlite:///{tmp_path}/study.db"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    behind = RDBStorage(url)
    server = make_server(optuna.storages.get_storage(behind), "127.0.0.1", port)
    server.start()
    direct = stepped(RDBStorage)(url)
    with pytest.warns(ExperimentalWarning):
        proxy = stepped(GrpcStorageProxy)(host="127.0.0.1", port=port)
    proxy.wait_server_ready(timeout=60)
    yield {"direct": direct, "proxy": proxy}
    proxy.close()
    server.stop(None).wait()
    for engine in (behind.engine, direct.engine):
        engine.dispose()


FIRST_TWO: Space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


@pytest.mark.parametrize("first", ["direct", "proxy"])
@pytest.mark.parametrize("is_told", [False, True])
def test_a_worker_behind_a_proxy_and_one_on_the_database_never_share_a_point(
    both: dict[str, Any], first: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step of an ask it is at which the other worker asks, and perhaps evaluates."""
    monkeypatch.setattr(claims, "_PATIENCE", 0.05)  # one thread: the other cannot answer
    second = "proxy" if first == "direct" else "direct"
    for step in itertools.count(1):
        for backend in both.values():
            backend.left = -1
        create = partial(optuna.create_study, study_name=f"{first} {is_told} {step}")
        studies = {
            kind: create(
                storage=backend, sampler=RANDOM_SPACES["soo"](FIRST_TWO), load_if_exists=True
            )
            for kind, backend in both.items()
        }
        points = []

        def ask(kind: str, found: Any = points, at: Any = studies) -> None:
            trial = at[kind].ask(FIRST_TWO)
            found.append(tuple(trial.params.values()))
            if is_told and kind == second:
                at[kind].tell(trial, 1.0)

        both[first].left, both[first].meanwhile = step, partial(ask, second)
        ask(first)
        if both[first].left > 0:
            break
        assert len(set(points)) == len(points) == 2, f"step {step}"
    assert step > 6, "an ask has that many steps at least"


def test_a_finite_space_is_covered_once_by_both_kinds_of_workers(both: dict[str, Any]) -> None:
    space: Space = {"x": IntDistribution(0, 5), "y": IntDistribution(0, 5)}
    optuna.create_study(storage=both["direct"], study_name="one")

    def work(kind: str) -> None:
        sampler = RANDOM_SPACES["soo"](space)
        study = optuna.load_study(storage=both[kind], study_name="one", sampler=sampler)
        for _ in range(9):
            trial = study.ask(space)
            study.tell(trial, float(sum(trial.params.values())))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["direct", "proxy"] * 2))
    trials = optuna.load_study(storage=both["direct"], study_name="one").trials
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials) == 36
