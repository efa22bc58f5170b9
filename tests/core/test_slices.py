"""Trials enqueued in part: completed where the best cell is that the decided values cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bowl import bowl
from bowl import every_sampler
from bowl import new_study
from bowl import points
from bowl import SPACE
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition._space.space import Space
from optuna_partition.inspection import cells


GRID: dict[str, BaseDistribution] = {"x": IntDistribution(0, 3), "y": IntDistribution(0, 3)}


def test_the_first_of_a_study_counts_by_where_it_lies() -> None:
    study = new_study(seed=0)
    study.enqueue_trial({"x": 0.3})
    study.optimize(bowl, n_trials=2)
    assert study.trials[0].params == {"x": 0.3, "n": 4, "lr": pytest.approx(1e-3)}
    assert study.trials[1].system_attrs["partition"]["opened"] == ["0.0 0.8 0.0"]


@every_sampler
@pytest.mark.parametrize("x", [-0.9, 0.31, 1.999])
def test_it_lies_at_the_centre_of_the_best_cell_of_the_slice(
    make: Callable[..., BaseSampler], x: float
) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=40)
    share = (x + 1) / 3
    met = [c for c in cells(study) if c.low["x"] <= share < c.high["x"] and c.value is not None]
    best = min(met, key=lambda cell: cell.value or 0.0)
    study.enqueue_trial({"x": x})
    study.optimize(bowl, n_trials=1)
    params = study.trials[-1].params
    units = Space(SPACE).unit(params)
    assert params["x"] == x and units is not None
    for name in ("n", "lr"):
        assert best.low[name] <= units[name] <= best.high[name]
    assert units["lr"] == pytest.approx((best.low["lr"] + best.high["lr"]) / 2)


@every_sampler
def test_a_new_process_completes_it_alike(make: Callable[..., BaseSampler]) -> None:
    found = []
    for seed in (1, 2):
        study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
        study.optimize(bowl, n_trials=15)
        study.sampler = make(search_space=dict(SPACE), seed=seed)
        study.enqueue_trial({"n": 2, "lr": 2e-3})
        study.optimize(bowl, n_trials=3)
        found.append(points(study))
    assert found[0] == found[1]


@every_sampler
@pytest.mark.parametrize("kind", ["memory", "sqlite", "journal"])
def test_several_in_flight_get_different_points(
    make: Callable[..., BaseSampler], kind: str, tmp_path: Path
) -> None:
    storage: Any = None
    if kind == "sqlite":
        storage = f"sqlite:///{tmp_path}/study.db"
    elif kind == "journal":
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    study = optuna.create_study(storage=storage, sampler=make(search_space=dict(GRID)))
    for _ in range(3):
        study.enqueue_trial({"x": 1})
    trials = [study.ask() for _ in range(8)]
    for name, distribution in GRID.items():  # all suggest one parameter, then the next
        for trial in trials:
            trial._suggest(name, distribution)
    asked = [(trial.params["x"], trial.params["y"]) for trial in trials]
    assert [x for x, _ in asked[:3]] == [1, 1, 1]
    assert len(set(asked)) == 8


def test_a_slice_that_is_used_up_still_answers() -> None:
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(GRID)))
    for _ in range(6):
        study.enqueue_trial({"x": 1})
    trials = [study.ask(dict(GRID)) for _ in range(16)]
    asked = [(trial.params["x"], trial.params["y"]) for trial in trials]
    assert len(set(asked[:4])) == 4
    assert all(x == 1 for x, _ in asked[:6])
    assert len(set(asked[6:])) == 10


def test_what_is_enqueued_whole_is_evaluated_as_it_is() -> None:
    study = new_study()
    for _ in range(2):
        study.enqueue_trial({"x": 0.3, "n": 1, "lr": 1e-2})
    study.optimize(bowl, n_trials=2)
    assert points(study) == [{"x": 0.3, "n": 1, "lr": 1e-2}] * 2


@pytest.mark.filterwarnings("ignore:Fixed parameter x with value 7")
def test_a_value_outside_its_distribution_is_left_to_the_user() -> None:
    study = new_study(seed=0)
    study.enqueue_trial({"x": 7.0})
    study.optimize(bowl, n_trials=3)
    assert study.trials[0].params["x"] == 7.0
    assert len({tuple(p.values()) for p in points(study)}) == 3


@pytest.mark.parametrize("x", [0.1, 0.5])
def test_bamsoo_completes_it_in_the_best_cell_of_the_slice(x: float) -> None:
    """Expected improvement would go where it doubts most: on a slice nothing beats the best."""
    study = optuna.create_study(sampler=BaMSOOSampler(search_space=dict(SPACE), seed=0))
    study.optimize(bowl, n_trials=25)
    share = (x + 1) / 3
    met = [c for c in cells(study) if c.low["x"] <= share < c.high["x"] and c.value is not None]
    best = min(met, key=lambda cell: cell.value or 0.0)
    study.enqueue_trial({"x": x})
    study.optimize(bowl, n_trials=1)
    units = Space(SPACE).unit(study.trials[-1].params)
    assert units is not None
    assert all(best.low[name] <= units[name] <= best.high[name] for name in ("n", "lr"))


def test_nomad_completes_it_by_the_best_point() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=20)
    best = study.best_params
    study.enqueue_trial({"x": 1.7})
    study.optimize(bowl, n_trials=1)
    assert study.trials[-1].params == {**best, "x": 1.7}
