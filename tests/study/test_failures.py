"""Trials that fail, are pruned or interrupted, and points that nobody can evaluate."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import json
import math
from pathlib import Path

from bowl import bowl
from bowl import every_sampler
from bowl import new_study
from bowl import points
from bowl import SPACE
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler
from optuna_partition.inspection import cells


@pytest.mark.parametrize("sampler", [SOOSampler, DIRECTSampler])
def test_points_that_the_objective_cannot_take_have_failed(
    sampler: Callable[..., BaseSampler], tmp_path: Path
) -> None:
    """Its range depends on another parameter: what it took instead counts where it lies."""
    space: dict[str, BaseDistribution] = dict.fromkeys("xy", FloatDistribution(0, 1))

    def objective(trial: optuna.Trial) -> float:
        y = trial.suggest_float("y", 0, 1)
        return (trial.suggest_float("x", 0, 0.2 + 0.8 * y) - 0.1) ** 2 + (y - 0.6) ** 2

    found = []
    for storage in (None, f"sqlite:///{tmp_path}/study.db"):
        study = optuna.create_study(
            sampler=sampler(search_space=space, seed=0), storage=storage, study_name="same"
        )
        study.optimize(objective, n_trials=40)
        asked = [str(trial.system_attrs["partition"]["cell"]) for trial in study.trials]
        assert len(set(asked)) == 40, "no cell is asked for twice"
        assert all(number in range(40) for cell in cells(study) for number in cell.trials)
        found.append(points(study))
    assert found[0] == found[1]


@every_sampler
@pytest.mark.parametrize("end", [ValueError, optuna.TrialPruned, None])
def test_a_point_it_cannot_take_has_failed_also_where_it_suggests_no_more(
    make: Callable[..., BaseSampler], end: type[Exception] | None
) -> None:
    """The cell was asked for again and again."""
    space: dict[str, BaseDistribution] = dict.fromkeys("xy", FloatDistribution(0, 1))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 0.4)
        if end is not None:
            raise end
        return math.nan

    study = optuna.create_study(sampler=make(search_space=space))
    study.optimize(objective, n_trials=20, catch=ValueError)
    asked = [str(trial.system_attrs["partition"]["cell"]) for trial in study.trials]
    assert len(set(asked)) == 20


@pytest.mark.parametrize("sampler", [SOOSampler, DIRECTSampler, BaMSOOSampler])
def test_a_first_trial_that_fails_is_not_tried_again(sampler: Callable[[], BaseSampler]) -> None:
    study = optuna.create_study(sampler=sampler())

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        return math.nan if x == 0.5 else x

    study.optimize(objective, n_trials=6)
    assert [trial.params["x"] for trial in study.trials].count(0.5) == 1


needs_nomad = pytest.mark.skipif(find_spec("PyNomad") is None, reason="needs PyNomadBBO")


@pytest.mark.parametrize("space", [None, SPACE], ids=["inferred", "given"])
@pytest.mark.parametrize("sampler", [SOOSampler, pytest.param(NOMADSampler, marks=needs_nomad)])
def test_an_interrupted_first_trial_leaves_the_centre_to_the_next(
    sampler: Callable[..., BaseSampler], space: dict[str, BaseDistribution] | None
) -> None:
    """However often: whoever interrupts does not say that the centre is bad."""
    study = optuna.create_study(sampler=sampler(search_space=space))

    def interrupted(trial: optuna.Trial) -> float:
        bowl(trial)
        raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            study.optimize(interrupted, n_trials=1)
    study.optimize(bowl, n_trials=1)
    assert all(trial.params == study.trials[0].params for trial in study.trials)


@every_sampler
def test_the_point_of_a_dead_worker_is_claimed_anew(
    make: Callable[..., BaseSampler], tmp_path: Path
) -> None:
    """On a database its row still names the dead trial."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=storage, sampler=make(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=4)
    dead = study.ask(dict(SPACE))
    storage.set_trial_state_values(dead._trial_id, TrialState.FAIL)
    study.sampler = make(search_space=dict(SPACE))
    assert study.ask(dict(SPACE)).params == dead.params
    assert study.ask(dict(SPACE)).params != dead.params
    storage.engine.dispose()


@every_sampler
def test_a_failed_point_is_not_tried_again_and_its_cell_stays_openable(
    make: Callable[..., BaseSampler],
) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))

    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        return float("nan") if trial.params["x"] < 0 else value

    study.optimize(objective, n_trials=200)
    assert len({tuple(p.values()) for p in points(study)}) == 200
    opened = {c for t in study.trials for c in t.system_attrs["partition"]["opened"]}
    failed = [t for t in study.trials if t.state is TrialState.FAIL]
    assert failed and all(t.system_attrs["partition"]["failed"] for t in failed)
    cells = [" ".join(t.system_attrs["partition"]["cell"].values()) for t in failed]
    assert any(cell in opened for cell in cells)


@every_sampler
@pytest.mark.parametrize("end", [ValueError, optuna.TrialPruned, None])
def test_a_trial_that_ends_before_its_last_parameter_has_been_at_its_point(
    make: Callable[..., BaseSampler], end: type[Exception] | None
) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 2)
        if x > 0 and end is not None:
            raise end
        return x + (0 if x > 0 else trial.suggest_float("y", 0, 1))

    space = {"x": SPACE["x"], "y": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=make(search_space=space))
    study.optimize(objective, n_trials=20, catch=ValueError)
    attributes = [trial.system_attrs["partition"] for trial in study.trials]
    points = [json.dumps([a["cell"], a.get("at")]) for a in attributes]
    assert len(set(points)) == 20
    assert sum("y" not in trial.params for trial in study.trials) > 2


@every_sampler
def test_an_objective_that_always_fails_still_moves_on(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.optimize(lambda trial: bowl(trial) * float("nan"), n_trials=50)
    assert len({tuple(p.values()) for p in points(study)}) == 50


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_point_is_evaluated_again(error: type[BaseException]) -> None:
    whole = new_study()
    whole.optimize(bowl, n_trials=20)
    study = new_study()
    calls = 0

    def interrupted(trial: optuna.Trial) -> float:
        nonlocal calls
        calls += 1
        value = bowl(trial)
        if calls in (4, 9):
            raise error
        return value

    for _ in range(3):
        try:
            study.optimize(interrupted, n_trials=22 - len(study.trials))
        except error:
            pass
    done = [t.params for t in study.trials if t.state is TrialState.COMPLETE]
    assert done == points(whole)


@every_sampler
def test_a_trial_may_end_that_shares_no_parameter_while_another_begins(
    make: Callable[..., BaseSampler],
) -> None:
    sampler = make(independent_sampler=optuna.samplers.RandomSampler(seed=0))
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=3)
    study.sampler = optuna.samplers.RandomSampler()
    stopped, begun = study.ask(), study.ask()
    trial = study.trials[begun.number]
    space = sampler.infer_relative_search_space(study, trial)
    stopped.suggest_float("other", 0, 1)
    study.tell(stopped, state=TrialState.PRUNED)
    assert space and sampler.sample_relative(study, trial, space) == {}


def test_a_caught_error_is_the_objective_s_failure() -> None:
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        bowl(trial)
        raise RuntimeError("diverged")

    study.optimize(objective, n_trials=3, catch=(RuntimeError,))
    assert len({tuple(p.values()) for p in points(study)}) == 3


@every_sampler
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_lost_job_s_point_is_asked_for_again(
    make: Callable[..., BaseSampler], backend: str, tmp_path: Path
) -> None:
    """In ask and tell FAIL without a value is a lost job; NaN is a failure of the point."""
    url = None if backend == "memory" else f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, sampler=make(search_space=dict(SPACE)))
    lost = []
    for _ in range(4):
        trial = study.ask(dict(SPACE))
        lost.append(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)
    assert lost[0] == lost[1] == lost[2] != lost[3]
    bad = study.ask(dict(SPACE))
    assert bad.params == lost[3]
    with pytest.warns(UserWarning, match="nan is not acceptable"):
        study.tell(bad, math.nan)
    assert study.ask(dict(SPACE)).params != bad.params


def test_pruned_trials_count_with_their_last_value() -> None:
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if value > 1:
            trial.report(value, step=1)
            raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=60)
    plain = new_study()
    plain.optimize(bowl, n_trials=60)
    assert any(t.state is TrialState.PRUNED for t in study.trials)
    assert points(study) == points(plain)


@every_sampler
@pytest.mark.parametrize("infinite", [float("inf"), float("-inf")])
def test_infinite_values_are_ranked(make: Callable[..., BaseSampler], infinite: float) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.optimize(lambda t: infinite if bowl(t) > 0.9 else t.params["x"], n_trials=80)
    assert len({tuple(p.values()) for p in points(study)}) == 80
