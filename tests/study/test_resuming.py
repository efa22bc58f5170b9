"""Studies that others began: what is known counts, and a new process goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import pickle
from typing import Any

from bowl import bamsoo_and_every_sampler
from bowl import bowl
from bowl import every_sampler
from bowl import new_study
from bowl import points
from bowl import SPACE
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_partition import SOOSampler


# ---- warm starts: every trial counts by where it lies ----


def test_a_point_known_from_elsewhere_is_not_asked_for() -> None:
    plain = new_study()
    plain.optimize(bowl, n_trials=30)
    warm = new_study()
    known = [plain.trials[0], plain.trials[2], plain.trials[5]]
    for trial in known:
        warm.add_trial(
            create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
        )
    warm.optimize(bowl, n_trials=27)
    assert sorted(map(str, points(warm))) == sorted(map(str, points(plain)))


def test_an_enqueued_trial_steers_the_search() -> None:
    study = new_study()
    study.enqueue_trial({"x": 0.31, "n": 5, "lr": 2e-3})
    study.optimize(bowl, n_trials=60)
    assert study.trials[0].params == {"x": 0.31, "n": 5, "lr": 2e-3}
    assert study.trials[1].system_attrs["partition"]["opened"] == ["0.0 0.8 0.0"]  # root is known
    assert len({tuple(p.values()) for p in points(study)}) == 60


@every_sampler
def test_an_enqueued_point_is_the_trial_s_before_it_has_suggested_anything(
    make: Callable[..., BaseSampler],
) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.enqueue_trial({"x": 0.5, "n": 4, "lr": 1e-3})
    enqueued, asked = study.ask(), study.ask()
    assert bowl(asked) != bowl(enqueued)


def test_other_samplers_trials_are_taken_in() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(bowl, n_trials=20)
    study.sampler = SOOSampler()
    study.optimize(bowl, n_trials=40)
    assert len({tuple(p.values()) for p in points(study)}) == 60
    first = study.trials[20].system_attrs["partition"]
    assert first["opened"], "20 observations let the first ask open cells"


@bamsoo_and_every_sampler
@pytest.mark.parametrize("high", [3.0, 6.0])
def test_a_range_that_has_changed_is_searched_whole(
    make: Callable[..., BaseSampler], high: float
) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(lambda trial: square(trial, 5.0), n_trials=15)
    study.sampler = sampler = make()
    study.optimize(lambda trial: square(trial, high), n_trials=25)
    newest = {name: FloatDistribution(-high, high) for name in "xy"}
    assert sampler.infer_relative_search_space(study, study.trials[-1]) == newest
    assert "high=5.0" in sampler.misfits(study)  # type: ignore[attr-defined]
    assert len({tuple(p.values()) for p in points(study)}) == 40
    assert min(trial.value or 9.0 for trial in study.trials[15:]) < 0.3


def square(trial: optuna.Trial, high: float) -> float:
    return sum((trial.suggest_float(name, -high, high) - 1.3) ** 2 for name in "xy")


@bamsoo_and_every_sampler
@pytest.mark.parametrize("n_before", [3, 20])
def test_a_range_that_follows_from_another_parameter_is_no_new_one(
    make: Callable[..., BaseSampler], n_before: int
) -> None:
    def objective(trial: optuna.Trial) -> float:
        high = trial.suggest_float("high", 1, 2)
        return (trial.suggest_float("x", 0, high) - 0.7) ** 2

    study = optuna.create_study(sampler=make())
    study.optimize(objective, n_trials=n_before)
    space = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert space == {"high": FloatDistribution(1, 2)}


@every_sampler
@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_fixed_parameters_are_a_tree_of_their_own(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=5)
    whole = study.sampler
    study.sampler = PartialFixedSampler({"n": 5}, whole)
    study.optimize(bowl, n_trials=10)
    study.sampler = whole
    study.optimize(bowl, n_trials=10)
    assert [p["n"] for p in points(study)[5:15]] == [5] * 10
    assert points(study)[5] == {"x": 0.5, "n": 5, "lr": pytest.approx(1e-3)}  # its own centre
    assert len({tuple(p.values()) for p in points(study)}) == 25


@every_sampler
@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
@pytest.mark.parametrize("given", [True, False])
def test_another_value_of_a_fixed_parameter_is_another_tree(
    make: Callable[..., BaseSampler], given: bool
) -> None:
    """And what lies there already counts."""
    study = optuna.create_study(sampler=make(search_space=dict(SPACE) if given else None))
    study.optimize(bowl, n_trials=3)
    whole = study.sampler
    found = []
    for n in (5, 6, 5):
        study.sampler = PartialFixedSampler({"n": n}, whole)
        study.optimize(bowl, n_trials=8)
        found.append([(p["x"], p["lr"]) for p in points(study)[-8:]])
        assert all(p["n"] == n for p in points(study)[-8:])
    assert found[1] == found[0], "the bowl's other parameters do not depend on it"
    assert not {*found[2]} & {*found[0]}


def test_hyperband_sees_the_whole_study() -> None:
    study = optuna.create_study(
        sampler=SOOSampler(search_space=dict(SPACE)),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9),
    )

    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        for step in range(9):
            trial.report(value + 1 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=60)
    assert len({tuple(p.values()) for p in points(study)}) == 60


# ---- resuming ----


@every_sampler
@pytest.mark.parametrize("every", [1, 7])
def test_a_new_process_continues_the_sequence(
    make: Callable[..., BaseSampler], every: int
) -> None:
    whole = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    whole.optimize(bowl, n_trials=42)
    study = optuna.create_study()
    while len(study.trials) < 42:
        study.sampler = make(search_space=dict(SPACE))
        study.optimize(bowl, n_trials=every)
    assert points(study) == points(whole)


@every_sampler
def test_what_is_beside_the_given_space_is_drawn_by_trial(
    make: Callable[..., BaseSampler],
) -> None:
    """No stream of random numbers begins anew with a process."""

    def sampler() -> BaseSampler:
        return make(search_space={"x": SPACE["x"]}, seed=1, warn_independent_sampling=False)

    whole = optuna.create_study(sampler=sampler())
    whole.optimize(bowl, n_trials=6)
    study = optuna.create_study()
    for _ in range(3):
        study.sampler = sampler()
        study.optimize(bowl, n_trials=2)
    assert points(study) == points(whole)
    assert len({trial.params["lr"] for trial in study.trials}) == 6


def test_another_seed_draws_other_values_and_none_new_ones_each_time() -> None:
    drawn = []
    for seed in (0, 1, None, None):
        sampler = SOOSampler(
            search_space={"x": SPACE["x"]}, seed=seed, warn_independent_sampling=False
        )
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=1)
        drawn.append(study.trials[0].params["lr"])
    assert len(set(drawn)) == 4


def test_a_pickled_sampler_continues_the_sequence() -> None:
    whole = new_study()
    whole.optimize(bowl, n_trials=20)
    study = new_study()
    study.optimize(bowl, n_trials=10)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(bowl, n_trials=10)
    assert points(study) == points(whole)


def test_another_process_goes_on_with_a_trial_that_was_completed() -> None:
    study = new_study()
    running = []
    for _ in range(2):
        study.enqueue_trial({"x": 0.4})
        running.append(study.ask())
        running[-1].suggest_float("lr", 1e-5, 1e-1, log=True)
    place = study.trials[1].system_attrs["partition"]
    study.tell(running[0], state=TrialState.FAIL)  # its point is free
    study.sampler = SOOSampler(search_space=dict(SPACE))
    bowl(running[1])
    assert study.trials[1].system_attrs["partition"] == place


def test_a_copied_study_continues_the_sequence() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage, study_name="a", sampler=SOOSampler(search_space=dict(SPACE))
    )
    study.optimize(bowl, n_trials=15)
    optuna.copy_study(
        from_study_name="a", from_storage=storage, to_storage=storage, to_study_name="b"
    )
    copy = optuna.load_study(
        storage=storage, study_name="b", sampler=SOOSampler(search_space=dict(SPACE))
    )
    for continued in (study, copy):
        continued.optimize(bowl, n_trials=15)
    assert points(copy) == points(study)


@every_sampler
def test_one_sampler_can_serve_studies_whose_storage_is_gone(
    make: Callable[..., BaseSampler],
) -> None:
    """The next storage may lie at the same address, and its study has the same id."""
    sampler = make()
    for n_trials in (12, 1) * 15:
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=n_trials)
        assert study.trials[0].params["x"] == 0.5
        del study


@every_sampler
def test_one_sampler_can_serve_studies_that_number_their_trials_alike(
    make: Callable[..., BaseSampler],
) -> None:
    """Two in memory, in turns: what is completed for a trial of one is not the other's."""
    sampler, found = make(), []
    for value in (0.1, 1.9):
        study = optuna.create_study(sampler=sampler)
        study.optimize(bowl, n_trials=3)
        study.enqueue_trial({"x": value})
        trial = study.ask()
        trial.suggest_float("x", -1, 2)
        found.append((study, trial))
    for _, trial in found:
        trial.suggest_int("n", 0, 8)
        trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    places = [study.trials[3].system_attrs["partition"]["point"] for study, _ in found]
    assert places[0] != places[1]


def test_one_sampler_can_serve_a_study_made_anew_under_the_same_id(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    sampler = SOOSampler(search_space=dict(SPACE))
    storage = optuna.storages.RDBStorage(url)
    sequences = []
    for _ in range(2):  # SQLite gives the second study the id of the deleted first
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler)
        study.optimize(bowl, n_trials=5)
        sequences.append(points(study))
        optuna.delete_study(study_name="s", storage=storage)
    assert sequences[0] == sequences[1]


@pytest.mark.parametrize("n_trials", [1, 3])
def test_also_where_the_deleted_study_s_trials_were_in_flight(
    n_trials: int, tmp_path: Path
) -> None:
    sampler = SOOSampler(search_space=dict(SPACE))
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")  # one for both studies
    for first in (3, n_trials):
        study = optuna.create_study(storage=storage, study_name="s", sampler=sampler)
        for _ in range(first):
            study.ask(dict(SPACE))
        assert points(study) == points(new_study_in_flight(first))
        optuna.delete_study(study_name="s", storage=storage)
    storage.remove_session()


def new_study_in_flight(n_trials: int) -> optuna.Study:
    study = new_study()
    for _ in range(n_trials):
        study.ask(dict(SPACE))
    return study
