"""Finite partitions that are used up: what is beyond them is searched, whole and once."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

from bowl import bamsoo_and_every_sampler
from bowl import every_sampler
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import BoundPruner
from optuna_partition import SOOSampler


Objective = Callable[[optuna.Trial], float]


def lower(trial: optuna.Trial) -> float:
    """A range for each value of another parameter, more than a partition takes for branches."""
    n = trial.suggest_int("n", 1, 12)
    return abs(n - 5) + abs(trial.suggest_int("m", 1, n) - 3)


def both(trial: optuna.Trial) -> float:
    """Two choices decide together, and neither alone."""
    flash, causal = (
        trial.suggest_categorical(name, [True, False]) for name in ("flash", "causal")
    )
    n = trial.suggest_int("n", 1, 4)
    return n + flash + (trial.suggest_int("window", 1, 4) if flash and causal else 0)


def either(trial: optuna.Trial) -> float:
    p, q = (trial.suggest_categorical(name, [True, False]) for name in "pq")
    return p + q + (trial.suggest_int("w", 1, 5) if p or q else 0)


@every_sampler
@pytest.mark.parametrize(("objective", "n_points"), [(lower, 78), (both, 28), (either, 16)])
def test_what_no_partition_has_is_evaluated_whole_and_once(
    make: Callable[..., BaseSampler], objective: Objective, n_points: int
) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=n_points + 20)
    assert len(points(study)) == len(study.trials) == n_points
    assert study.sampler.is_exhausted(study)  # type: ignore[attr-defined]


def points(study: optuna.Study) -> set[Any]:
    return {tuple(sorted(trial.params.items())) for trial in study.trials}


def nan(trial: optuna.Trial) -> float:
    return math.nan


def error(trial: optuna.Trial) -> float:
    raise ArithmeticError


def pruned(trial: optuna.Trial) -> float:
    trial.report(9.0, 1)
    raise optuna.TrialPruned


@every_sampler
@pytest.mark.parametrize("end", [nan, error, pruned])
def test_a_branch_that_never_gets_to_its_end_is_a_branch(
    make: Callable[..., BaseSampler], end: Objective
) -> None:
    """Once it has happened twice: it may have more parameters than it came to."""

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        if trial.suggest_categorical("optimizer", ["adafactor", "adam", "sgd"]) == "adafactor":
            return end(trial)
        beta, decay = trial.suggest_float("beta", 0.5, 1), trial.suggest_float("decay", 0, 0.1)
        return (math.log10(rate) + 3) ** 2 + (beta - 0.9) ** 2 + decay

    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=100, catch=ArithmeticError)
    assert len(points(study)) >= 99


@every_sampler
@pytest.mark.parametrize("first", ["x", "c"])
def test_a_range_that_changes_brings_no_point_again(
    make: Callable[..., BaseSampler], first: str
) -> None:
    """And what was evaluated before counts where it lies."""

    def objective(trial: optuna.Trial, high: float) -> float:
        suggested = {"x": 0.0, "c": ""}
        for name in sorted(suggested, reverse=first == "x"):
            if name == "x":
                suggested["x"] = trial.suggest_float("x", 0, high)
            else:
                suggested["c"] = trial.suggest_categorical("c", ["a", "b", "d"])
        return abs(float(suggested["x"]) - 0.3) + (suggested["c"] == "d")

    study = optuna.create_study(sampler=make())
    study.optimize(lambda trial: objective(trial, 1.0), n_trials=20)
    study.optimize(lambda trial: objective(trial, 2.0), n_trials=40)
    assert len(points(study)) == 60


@bamsoo_and_every_sampler
def test_a_finite_space_that_was_widened_is_evaluated_whole(
    make: Callable[..., BaseSampler],
) -> None:
    """The first trial after it learns of the range, when nothing of the former one is left."""
    study = optuna.create_study(sampler=make())
    for high, n_points in ((9, 9), (20, 20)):
        study.optimize(lambda trial, n=high: abs(trial.suggest_int("n", 1, n) - 15), n_trials=40)
        assert len(points(study)) == n_points
    assert len(study.trials) == 21
    assert "high=9" in study.sampler.misfits(study)  # type: ignore[attr-defined]


@bamsoo_and_every_sampler
def test_points_of_workers_that_are_lost_come_last(make: Callable[..., BaseSampler]) -> None:
    """Nobody can tell that they are lost, so that others evaluate theirs and the study ends."""
    study = optuna.create_study(sampler=make())
    study.optimize(grid, n_trials=5)
    lost = [study.ask() for _ in range(2)]
    for trial in lost:
        grid(trial)
    study.optimize(grid, n_trials=60)
    assert len(study.trials) == 36 + len(lost)
    assert len(points(study)) == 36
    again = [trial.params for trial in study.trials[-len(lost) :]]
    assert all(trial.params in again for trial in lost)


def grid(trial: optuna.Trial) -> float:
    return trial.suggest_int("a", 1, 6) ** 2 + trial.suggest_int("b", 1, 6)


# ---- parameters that are fixed from outside ----


def batches(trial: optuna.Trial) -> float:
    batch = trial.suggest_categorical("batch", [8, 16, 32]) / 100
    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "sgd":
        return float(batch + abs(trial.suggest_int("momentum", 0, 9) - 4))
    return float(batch + trial.suggest_int("amsgrad", 0, 1))


@every_sampler
@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_what_is_left_of_branches_is_evaluated_whole_and_once(
    make: Callable[..., BaseSampler],
) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(batches, n_trials=3)
    fixed: dict[str, Any]
    for fixed, n_points in (({"batch": 8}, 12), ({"batch": 32, "optimizer": "sgd"}, 10)):
        study.sampler = PartialFixedSampler(fixed, make())
        study.optimize(batches, n_trials=20)
        there = [p for p in map(dict, points(study)) if p.items() >= fixed.items()]
        assert len(there) == n_points
    assert len(points(study)) == len(study.trials)


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_parameters_may_be_fixed_one_after_the_other() -> None:
    """As Optuna's documents do it: the sampler of the study is the base of the next."""
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(batches, n_trials=3)
    for fixed in ({"batch": 16}, {"optimizer": "sgd"}):
        study.sampler = PartialFixedSampler(fixed, study.sampler)
    study.optimize(batches, n_trials=20)
    there = [p for p in map(dict, points(study)) if p["batch"] == 16 and p["optimizer"] == "sgd"]
    assert len(there) == 10 and len(points(study)) == len(study.trials)


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_what_is_enqueued_in_part_is_completed_on_what_is_left() -> None:
    def objective(trial: optuna.Trial) -> float:
        choice = trial.suggest_categorical("c", ["a", "b", "d"])
        return trial.suggest_int("n", 0, 2) + trial.suggest_int("m", 0, 2) + (choice == "d")

    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(objective, n_trials=2)
    study.sampler = PartialFixedSampler({"m": 1}, SOOSampler())
    for _ in range(3):
        study.enqueue_trial({"n": 2})
    study.optimize(objective, n_trials=3)
    assert {trial.params["c"] for trial in study.trials[2:]} == {"a", "b", "d"}
    assert {(trial.params["n"], trial.params["m"]) for trial in study.trials[2:]} == {(2, 1)}


@every_sampler
def test_points_in_flight_are_left_alone_as_long_as_others_are_free(
    make: Callable[..., BaseSampler],
) -> None:
    study, running = optuna.create_study(sampler=make()), []
    while len(points(study)) < 28:
        running.append(study.ask())
        value = both(running[-1])
        if len(running) == 4:
            study.tell(running.pop(0), value)
    assert len(study.trials) <= 29, "but where nobody knows yet what is behind a choice"


@every_sampler
@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_a_float_that_is_fixed_leaves_a_finite_space(make: Callable[..., BaseSampler]) -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 1, 5)

    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=3)
    study.sampler = PartialFixedSampler({"x": 0.3}, make())
    study.optimize(objective, n_trials=20)
    assert sorted(t.params["n"] for t in study.trials if t.params["x"] == 0.3) == [1, 2, 3, 4, 5]


@every_sampler
def test_hyperband_ends_a_finite_space(make: Callable[..., BaseSampler]) -> None:
    """It shows samplers a bracket's study in place of the whole."""

    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_int("n", 1, 3) + trial.suggest_int("m", 1, 3)
        for step in range(9):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    study = optuna.create_study(sampler=make(), pruner=pruner)
    study.optimize(objective, n_trials=30)
    assert len(points(study)) == len(study.trials) == 9


GIVEN: dict[str, BaseDistribution] = {
    "n": IntDistribution(1, 9),
    "c": CategoricalDistribution(["a", "b"]),
}


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
@pytest.mark.parametrize("space", [None, GIVEN])
def test_a_slice_that_is_used_up_ends_the_run(space: dict[str, BaseDistribution] | None) -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_int("n", 1, 9) + (trial.suggest_categorical("c", ["a", "b"]) == "a")

    study, ran = optuna.create_study(), []
    for n in (2, 3, 2):
        study.sampler = PartialFixedSampler({"n": n}, SOOSampler(search_space=space))
        before = len(study.trials)
        study.optimize(objective, n_trials=10)
        ran.append(len(study.trials) - before)
    assert ran == [2, 2, 1], "as the whole space: the ask that finds nothing left is the last"


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
@pytest.mark.parametrize("space", [None, GIVEN])
def test_a_slice_that_is_used_up_ends_a_loop(space: dict[str, BaseDistribution] | None) -> None:
    sampler = SOOSampler(search_space=space)
    study = optuna.create_study(sampler=sampler)
    study.tell(study.ask(GIVEN), 0.0)
    study.sampler = PartialFixedSampler({"c": "b"}, sampler)
    while not sampler.is_exhausted(study):
        study.tell(study.ask(GIVEN), 1.0)
        assert len(points(study)) == len(study.trials) <= 10
    assert len({t.params["n"] for t in study.trials if t.params["c"] == "b"}) == 9
    study.sampler = sampler
    assert not sampler.is_exhausted(study), "the other half is left"


def test_what_waits_in_the_queue_is_no_repeat() -> None:
    space: dict[str, BaseDistribution] = {"c": CategoricalDistribution(["a", "b"])}
    sampler = SOOSampler(search_space=space)
    study = optuna.create_study(sampler=sampler)
    for choice in "ab":
        study.enqueue_trial({"c": choice})
    n_trials = 0
    while not sampler.is_exhausted(study):
        study.tell(study.ask(space), 1.0)
        n_trials += 1
    assert n_trials == 2


# ---- before the space is known ----


def test_none_is_a_choice_like_others() -> None:
    study = optuna.create_study(sampler=SOOSampler())
    asked = [study.ask().suggest_categorical("c", [None, "cosine", "linear"]) for _ in range(3)]
    assert len({*asked}) == 3


@every_sampler
def test_nothing_is_drawn_where_the_first_trials_fail(make: Callable[..., BaseSampler]) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, rate = trial.suggest_float("x", -5, 5), trial.suggest_float("rate", 1e-5, 1, log=True)
        return math.nan if trial.number < 4 else x**2 + math.log(rate) ** 2

    found = []
    for seed in (1, 2):
        study = optuna.create_study(sampler=make(seed=seed))
        study.optimize(objective, n_trials=12)
        found.append([trial.params for trial in study.trials])
        assert len(points(study)) == 12
    assert found[0] == found[1]


def test_a_pruned_trial_with_the_parameters_of_a_whole_one_has_no_more_to_it() -> None:
    """Its point is taken, and not asked for again to see whether more was to come."""

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("depth", 1, 3)
        widths = [trial.suggest_int(f"width{i}", 1, 4) for i in range(depth)]
        value = depth + sum((width - 2) ** 2 for width in widths)
        for step in range(1, 5):
            trial.report(value + 3 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    sampler = BaMSOOSampler(deterministic=True)
    study = optuna.create_study(sampler=sampler, pruner=BoundPruner())
    study.optimize(objective, n_trials=24)
    pruned = [t for t in study.trials if t.state is TrialState.PRUNED]
    assert len(pruned) > 5
    assert len(points(study)) == 24
