"""Trials of our samplers under another, or another space: they count where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beliefs import Nearests
from bowl import bowl
from bowl import points
from bowl import SPACE
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition._bamsoo import bamsoo
from optuna_partition._hybrid import hybrid
from optuna_partition._rule import Rule
from optuna_partition._sampler import PartitionSampler


Space = dict[str, BaseDistribution]


def believing(rule: Rule[Any]) -> Callable[[Space], BaseSampler]:
    return lambda space: PartitionSampler(rule, space, 0, None, True, True, True)


OURS: dict[str, Callable[[Space], BaseSampler]] = {
    "soo": lambda space: SOOSampler(search_space=space),
    "direct-l": lambda space: DIRECTSampler(search_space=space),
    "direct": lambda space: DIRECTSampler(search_space=space, locally_biased=False),
    "bamsoo": believing(hybrid(Nearests())),
    "bamsoo-2014": believing(bamsoo(Nearests(0.1), 0.05)),
}
SOURCES = {
    **OURS,
    "lhs": lambda space: LatinHypercubeSampler(n_trials=20, search_space=space, seed=0),
    "nomad": lambda space: NOMADSampler(search_space=space),
    "tpe": lambda space: optuna.samplers.TPESampler(seed=0),
}
FINITE: Space = {"x": IntDistribution(0, 8), "y": IntDistribution(0, 5)}


def coordinates(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [tuple(params[name] for name in sorted(params)) for params in points(study)]


def searched(sampler: BaseSampler, n_trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=n_trials)
    return study


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", OURS)
def test_imported_trials_are_known_and_nothing_is_repeated(name: str, source: str) -> None:
    old = searched(SOURCES[source](dict(SPACE)), 20)
    new = optuna.create_study(sampler=OURS[name](dict(SPACE)))
    new.add_trials(old.trials)
    new.optimize(bowl, n_trials=30)
    assert {trial.state for trial in new.trials} == {TrialState.COMPLETE}
    assert len(set(coordinates(new)) - set(coordinates(old))) == 30
    assert new.best_value <= old.best_value


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_goes_on_with_another_of_our_samplers(kind: str, tmp_path: Path) -> None:
    storage: optuna.storages.BaseStorage
    if kind == "sqlite":
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    else:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    study = optuna.create_study(storage=storage, sampler=SOOSampler(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=10)
    study.sampler = DIRECTSampler(search_space=dict(SPACE))
    study.optimize(bowl, n_trials=10)
    study.sampler = SOOSampler(search_space=dict(SPACE))
    study.optimize(bowl, n_trials=10)
    assert len(set(coordinates(study))) == 30
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_what_the_log_of_another_rule_is_taken_for_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = searched(SOOSampler(search_space=dict(SPACE)), 7)
    study.sampler = DIRECTSampler(search_space=dict(SPACE))
    optuna.logging.enable_propagation()
    study.optimize(bowl, n_trials=3)
    optuna.logging.disable_propagation()
    told = {id(r): r.getMessage() for r in caplog.records if "where they lie" in r.getMessage()}
    (message,) = told.values()
    assert message.startswith("7 trials of the study were asked for by another rule")
    assert "theirs: soo; this one: direct locally_biased=True" in message


def test_trials_imported_into_the_same_rule_and_space_go_on_as_if_there() -> None:
    whole = searched(SOOSampler(search_space=dict(SPACE)), 40)
    new = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    new.add_trials(searched(SOOSampler(search_space=dict(SPACE)), 25).trials)
    new.optimize(bowl, n_trials=15)
    assert points(new) == points(whole)


def test_trials_imported_twice_change_nothing() -> None:
    old = searched(SOOSampler(search_space=dict(SPACE)), 25)
    once, twice = (optuna.create_study(sampler=OURS["soo"](dict(SPACE))) for _ in range(2))
    once.add_trials(old.trials)
    twice.add_trials(old.trials + old.trials)
    for study in (once, twice):
        study.optimize(bowl, n_trials=10)
    assert points(once)[25:] == points(twice)[50:]


@pytest.mark.parametrize("name", ["soo", "direct-l", "direct"])
def test_a_point_that_failed_elsewhere_is_not_tried_again(name: str) -> None:
    def fails(trial: optuna.Trial) -> float:
        x, y = trial.suggest_int("x", 0, 8), trial.suggest_int("y", 0, 5)
        return float("nan") if x > 5 else float(x + y)

    old = optuna.create_study(sampler=SOOSampler(search_space=dict(FINITE)))
    old.optimize(fails, n_trials=30)
    new = optuna.create_study(sampler=OURS[name](dict(FINITE)))
    new.add_trials(old.trials)
    new.optimize(fails)
    assert len(new.trials) == len(set(coordinates(new))) == 54


def test_a_running_trial_of_another_order_keeps_its_point() -> None:
    """Two workers whose dictionaries differ in order meet at the same claims."""
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(FINITE)))
    backwards = dict(reversed(FINITE.items()))
    asked = []
    for n in range(54):
        study.sampler = SOOSampler(search_space=dict(backwards if n % 2 else FINITE))
        asked.append(study.ask(dict(FINITE)).params)
    assert len({(p["x"], p["y"]) for p in asked}) == 54


@settings(max_examples=40)
@given(
    first=st.sampled_from([name for name in OURS if name != "bamsoo-2014"]),
    second=st.sampled_from(list(OURS)),
    order=st.permutations(["x", "n", "lr"]),
    more=st.floats(0, 3),
    width=st.integers(1, 6),
)
def test_a_space_reordered_and_widened_has_the_old_points_inside(
    first: str, second: str, order: list[str], more: float, width: int
) -> None:
    study = optuna.create_study(sampler=OURS[first](dict(SPACE)))
    study.optimize(bowl, n_trials=12)
    wider = {
        **SPACE,
        "x": FloatDistribution(-1 - more, 2),
        "n": IntDistribution(0, 8 + round(more)),
    }
    space = {name: wider[name] for name in order}
    study.sampler = OURS[second](dict(space))
    flying = []
    for number in range(20):
        flying.append(study.ask(dict(space)))
        if len(flying) == width:
            study.tell(flying.pop(0), float(number % 5))
    assert len(set(coordinates(study))) == 32
