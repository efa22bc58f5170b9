"""Conditional spaces: searched branch by branch, no point twice, and nothing left to chance."""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
import pickle
import random
from typing import Any

from backends import python
from bowl import every_sampler
from bowl import points
from conditional import layers
from conditional import nested
from conditional import optimizer
from conditional import Params
from conditional import place
from conditional import random_parameters
from conditional import searched
from conditional import size
from conditional import suggest
from conditional import value
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import SOOSampler
from optuna_partition.inspection import cells


seeds = st.integers(0, 2**32 - 1)


@every_sampler
@settings(max_examples=15)
@given(seed=seeds, width=st.integers(1, 6))
def test_no_point_comes_twice(make: Callable[..., BaseSampler], seed: int, width: int) -> None:
    """Unless it was in flight before anyone knew what is behind its choices."""
    chance = random.Random(seed)
    parameters = random_parameters(chance, finite=False)
    study = optuna.create_study(sampler=make(stop_when_exhausted=False))
    running: list[tuple[optuna.Trial, Params]] = []
    seen = set()
    for _ in range(int(min(50, size(parameters)))):
        trials = study.get_trials(deepcopy=False)
        known = {choices(trial) for trial in trials if trial.state.is_finished()}
        trial = study.ask()
        running.append((trial, suggest(trial, parameters)))
        found = study.get_trials(deepcopy=False)[trial.number]
        assert place(found) not in seen or choices(found) not in known
        seen.add(place(found))
        if len(running) == width:
            trial, params = running.pop(chance.randrange(width))
            study.tell(trial, value(params))


def choices(trial: FrozenTrial) -> tuple[Any, ...]:
    """What decides which parameters a trial has."""
    floats = {n for n, d in trial.distributions.items() if isinstance(d, FloatDistribution)}
    return tuple((name, None if name in floats else x) for name, x in place(trial))


@every_sampler
@settings(max_examples=20)
@given(seed=seeds)
def test_a_finite_space_is_evaluated_whole_and_once_then_the_study_stops(
    make: Callable[..., BaseSampler], seed: int
) -> None:
    parameters = random_parameters(random.Random(seed), finite=True)
    n_points = int(size(parameters))
    study = optuna.create_study(sampler=make())
    study.optimize(lambda trial: value(suggest(trial, parameters)), n_trials=n_points + 5)
    assert len({place(trial) for trial in study.trials}) == len(study.trials) == n_points


@every_sampler
@settings(max_examples=8)
@given(seed=seeds)
def test_a_new_process_at_every_step_asks_for_the_same_points(
    make: Callable[..., BaseSampler], seed: int
) -> None:
    """Whatever its seed: nothing is drawn."""
    parameters = random_parameters(random.Random(seed), finite=False)
    whole = optuna.create_study(sampler=make(seed=1))
    whole.optimize(lambda trial: value(suggest(trial, parameters)), n_trials=20)
    halting = optuna.create_study()
    for _ in whole.trials:
        halting.sampler = pickle.loads(pickle.dumps(make(seed=2)))
        halting.optimize(lambda trial: value(suggest(trial, parameters)), n_trials=1)
    assert points(halting) == points(whole)


# ---- values outside ----


@pytest.mark.filterwarnings("ignore:Fixed parameter")
@every_sampler
def test_a_value_outside_its_choices_decides_on_nothing(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make())
    study.enqueue_trial({"n": 50, "width0": 8, "width1": 8, "width2": 8})
    study.optimize(layers, n_trials=30)
    assert len({place(trial) for trial in study.trials}) == 30


# ---- how it is searched ----


def test_branches_alike_are_searched_as_the_plain_space_is() -> None:
    """Where branches differ in a name only, SOO's sequence is that of a space without branches."""

    def landscape(kind: str, x: float, y: float) -> float:
        return (x - 0.3) ** 2 + (y - 0.7) ** 2 + {"a": 0.02, "b": 0.1, "c": 0.0}[kind]

    def branching(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b", "c"])
        return landscape(kind, *(trial.suggest_float(f"{name}_{kind}", 0, 1) for name in "xy"))

    def plain(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b", "c"])
        return landscape(kind, *(trial.suggest_float(name, 0, 1) for name in "xy"))

    found = [list(trial.params.values()) for trial in searched(branching, 150).trials]
    assert found == [list(trial.params.values()) for trial in searched(plain, 150).trials]


@every_sampler
@pytest.mark.parametrize("objective", [optimizer, layers, nested])
def test_the_best_branch_is_searched_most_and_none_is_left_out(
    make: Callable[..., BaseSampler], objective: Callable[[optuna.Trial], float]
) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=120)
    peer = optuna.create_study(sampler=RandomSampler(seed=0))
    peer.optimize(objective, n_trials=480)
    assert study.best_value < peer.best_value
    decider = {optimizer: "optimizer", layers: "n", nested: "outer"}[objective]
    chosen = [trial.params[decider] for trial in study.trials]
    counts = {value: chosen.count(value) for value in chosen}
    assert counts[study.best_params[decider]] == max(counts.values())
    if objective is not layers:
        assert len(counts) == len(study.trials[0].distributions[decider].choices)
        assert min(counts.values()) >= 3


@every_sampler
def test_the_first_trial_of_a_branch_is_at_its_centre(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(optimizer, n_trials=20)
    first = next(t for t in study.trials if t.params["optimizer"] == "sgd").params
    assert first["momentum"] == 0.5 and first["rate"] == pytest.approx(10**-1.5)


@every_sampler
def test_what_follows_from_a_float_is_searched_without_chance(
    make: Callable[..., BaseSampler],
) -> None:
    """No partition has it: the rule searches it alone."""

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if x < 0.4:
            return 1 - x
        return x + abs(trial.suggest_float("y", 0, 1) - 0.2) + trial.suggest_float("z", 0, 1) / 3

    found = []
    for seed in (1, 2):
        study = optuna.create_study(sampler=make(seed=seed))
        study.optimize(objective, n_trials=60)
        found.append(points(study))
    assert found[0] == found[1]
    assert len({place(trial) for trial in study.trials}) == 60
    peers = []
    for seed in range(15):
        peer = optuna.create_study(sampler=RandomSampler(seed=seed))
        peer.optimize(objective, n_trials=60)
        peers.append(peer.best_value)
    assert study.best_value < sorted(peers)[7]


@every_sampler
def test_a_branch_that_always_fails_does_not_stop_the_others(
    make: Callable[..., BaseSampler],
) -> None:
    def objective(trial: optuna.Trial) -> float:
        found = optimizer(trial)
        if trial.params["optimizer"] == "sgd":
            raise RuntimeError
        return found

    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=80, catch=RuntimeError)
    failed = [t for t in study.trials if t.state is TrialState.FAIL]
    assert 0 < len(failed) < 50
    assert len({place(trial) for trial in study.trials}) == 80


@every_sampler
def test_an_interrupted_point_of_a_branch_is_evaluated_again(
    make: Callable[..., BaseSampler],
) -> None:
    whole = optuna.create_study(sampler=make())
    whole.optimize(nested, n_trials=30)
    study, calls = optuna.create_study(sampler=make()), 0

    def interrupted(trial: optuna.Trial) -> float:
        nonlocal calls
        calls += 1
        found = nested(trial)
        if calls in (4, 9, 20):
            raise KeyboardInterrupt
        return found

    for _ in range(4):
        try:
            study.optimize(interrupted, n_trials=33 - len(study.trials))
        except KeyboardInterrupt:
            pass
    done = [t.params for t in study.trials if t.state is TrialState.COMPLETE]
    assert done == points(whole)


# ---- decided in part ----


@every_sampler
def test_a_choice_that_is_enqueued_is_completed_in_its_branch(
    make: Callable[..., BaseSampler],
) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(optimizer, n_trials=60)
    rivals = [t for t in study.trials if t.params["optimizer"] == "adam"]
    best = min(rivals, key=lambda t: t.value or 0.0).params
    for _ in range(3):
        study.enqueue_trial({"optimizer": "adam"})
    study.enqueue_trial({"momentum": 0.9})
    trials = [study.ask() for _ in range(4)]
    for trial in trials:
        optimizer(trial)
    found = [trial.params for trial in trials]
    assert [p["optimizer"] for p in found] == ["adam"] * 3 + ["sgd"]
    assert found[3]["momentum"] == 0.9
    near = [abs(math.log10(p["rate"] / best["rate"])) for p in found[:3]]
    assert max(near) < 1.01, "the best cells, of three decades a third at most"
    assert len({place(trial) for trial in study.trials}) == len(study.trials)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_parameter_that_is_fixed_from_outside_leaves_the_others_to_the_search() -> None:
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(optimizer, n_trials=20)
    for fixed in ({"optimizer": "sgd"}, {"batch": 8}):
        study.sampler = PartialFixedSampler(fixed, SOOSampler())
        study.optimize(optimizer, n_trials=12)
        late = study.trials[-12:]
        assert all(trial.params.items() >= fixed.items() for trial in late)
        assert len({place(trial) for trial in late}) == 12


# ---- many workers ----


@every_sampler
def test_threads_share_the_branches(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(optimizer, n_trials=12)
    study.optimize(optimizer, n_trials=120, n_jobs=4)
    assert len({place(trial) for trial in study.trials}) == 132


WORKER = """
import pathlib, sys, time
import optuna
sys.path.insert(0, "tests/helpers")
from conditional import optimizer
from optuna_partition import SOOSampler
optuna.logging.set_verbosity(optuna.logging.WARNING)
url, gate = sys.argv[1:]
study = optuna.load_study(study_name="s", storage=url, sampler=SOOSampler())
print("ready", flush=True)
while not pathlib.Path(gate).exists():
    time.sleep(0.01)
study.optimize(optimizer, n_trials=12)
"""


def test_processes_never_get_a_point_of_a_branch_twice(tmp_path: Path) -> None:
    """They begin at once, and want the same points."""
    url, gate = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "gate"
    study = optuna.create_study(study_name="s", storage=url, sampler=SOOSampler())
    study.optimize(optimizer, n_trials=10)
    workers = [python(WORKER, url, str(gate)) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    gate.touch()
    assert [(worker.communicate()[1], worker.returncode) for worker in workers] == [("", 0)] * 2
    assert len({place(trial) for trial in study.trials}) == len(study.trials) == 34


# ---- what people see, and what else there is ----


@every_sampler
def test_the_newest_trial_s_branch_is_shown(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(nested, n_trials=50)
    newest = study.trials[-1]
    shown = cells(study)
    mates = [t.number for t in study.trials if t.params.keys() == newest.params.keys()]
    assert sorted(n for cell in shown for n in cell.trials) == mates
    assert all(cell.low.keys() == newest.params.keys() for cell in shown)
    floats = [n for n, d in newest.distributions.items() if isinstance(d, FloatDistribution)]
    volume = sum(math.prod(c.high[n] - c.low[n] for n in floats) for c in shown)
    assert volume == pytest.approx(1)


def test_an_independent_sampler_that_is_given_has_the_branches() -> None:
    given = RandomSampler(seed=3)
    study = optuna.create_study(
        sampler=SOOSampler(independent_sampler=given, warn_independent_sampling=False)
    )
    study.optimize(nested, n_trials=20)
    assert all(
        set(t.system_attrs["partition"]["cell"]) <= {"shared", "outer"} for t in study.trials[2:]
    )


@pytest.mark.parametrize("as_published", [False, True])
def test_bamsoo_searches_the_best_branch_of_a_finite_partition_most(as_published: bool) -> None:
    def objective(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["far", "near", "good", "fails"])
        x = trial.suggest_float(f"{kind}_x", 0, 1)
        if kind == "fails":
            raise RuntimeError
        return {"far": 2, "near": 0.3, "good": 0}[kind] + (x - 0.3) ** 2

    study = optuna.create_study(sampler=BaMSOOSampler(as_published=as_published))
    study.optimize(objective, n_trials=28, catch=RuntimeError)
    kinds = [trial.params["kind"] for trial in study.trials]
    counts = {kind: kinds.count(kind) for kind in ("good", "near", "far", "fails")}
    assert counts["good"] == max(counts.values()) > 9
    assert all(n >= 3 for n in counts.values()), "none is left behind"
    assert len({place(trial) for trial in study.trials}) == 28
