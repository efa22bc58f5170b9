"""A run that was cut off goes on as if it had not been: at every step, whatever cut it off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beliefs import Nearests
from bowl import bowl
from bowl import SPACE
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.bamsoo_2014 import BaMSOO2014
from optuna_partition._rules.rule import Rule
from optuna_partition._study.ask import PartitionSampler


N = 30


def of_rule(rule: Rule[Any]) -> BaseSampler:
    return PartitionSampler(rule, search_space=dict(SPACE))


SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "soo": lambda: SOOSampler(search_space=dict(SPACE)),
    "direct-l": lambda: DIRECTSampler(search_space=dict(SPACE)),
    "direct": lambda: DIRECTSampler(search_space=dict(SPACE), locally_biased=False),
    "bamsoo": lambda: of_rule(BaMSOO(Nearests())),
    "bamsoo as published": lambda: of_rule(BaMSOO2014(Nearests(0.1), 0.05)),
}
by_sampler = pytest.mark.parametrize("name", SAMPLERS)


def ctrl_c(study: optuna.Study) -> None:
    """A trial that Ctrl-C ends."""

    def objective(trial: optuna.Trial) -> float:
        bowl(trial)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=1)


def error(study: optuna.Study) -> None:
    """A trial whose error ends the run, before its last parameter."""

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", -1, 2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        study.optimize(objective, n_trials=1)


def death(study: optuna.Study) -> None:
    """A trial whose worker is gone, as a heartbeat finds."""
    trial = study.ask(dict(SPACE))
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


CUTS = [ctrl_c, error, death]


def values(study: optuna.Study) -> list[dict[str, Any]]:
    """The points that have a value, in their order."""
    return [t.params for t in study.trials if t.state is TrialState.COMPLETE]


def uninterrupted(name: str, n: int = N) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=SAMPLERS[name]())
    study.optimize(bowl, n_trials=n)
    return values(study)


@by_sampler
@pytest.mark.parametrize("is_new", [False, True], ids=["same process", "new process"])
def test_one_interruption_at_any_step_leaves_no_trace(name: str, is_new: bool) -> None:
    expected = uninterrupted(name)
    for step in range(N):
        study = optuna.create_study(sampler=SAMPLERS[name]())
        study.optimize(bowl, n_trials=step)
        CUTS[step % len(CUTS)](study)
        if is_new:
            study.sampler = SAMPLERS[name]()
        study.optimize(bowl, n_trials=min(N - step, 10))
        assert values(study) == expected[: step + 10], f"trial {step} was interrupted"


@by_sampler
@pytest.mark.parametrize(("database", "n"), [(False, N), (True, 12)], ids=["memory", "sqlite"])
def test_interruptions_at_all_steps_leave_no_trace(
    name: str, database: bool, n: int, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/study.db" if database else None
    study = optuna.create_study(sampler=SAMPLERS[name](), storage=storage)
    for step in range(n):
        for cut in CUTS[: (step + step // 3) % 3]:  # the third would be the last
            cut(study)
        study.optimize(bowl, n_trials=1)
    assert values(study) == uninterrupted(name, n)


@by_sampler
def test_a_point_is_stopped_as_often_as_somebody_likes(name: str) -> None:
    """As a training longer than the time of a job is; an error that ends each run is no stop."""
    study = optuna.create_study(sampler=SAMPLERS[name]())
    for step in range(4):
        for _ in range(5):
            ctrl_c(study)
        error(study)
        study.optimize(bowl, n_trials=1)
        assert values(study) == uninterrupted(name, step + 1)


def test_a_ctrl_c_that_the_study_catches_is_the_point_s_failure() -> None:
    def stopped(trial: optuna.Trial) -> float:
        bowl(trial)
        raise KeyboardInterrupt

    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(stopped, n_trials=4, catch=(KeyboardInterrupt,))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 4


def stop_after(study: optuna.Study, steps: int) -> dict[str, Any]:
    """Ends a run in a trial that has reported so many steps; where that was."""

    def objective(trial: optuna.Trial) -> float:
        bowl(trial)
        for step in range(1, steps + 1):
            trial.report(1.0, step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=1)
    return dict(study.trials[-1].params)


@by_sampler
def test_a_point_that_takes_longer_than_any_run_is_given_up(name: str) -> None:
    """Where each run begins anew. One that goes on comes farther, as often as it takes."""
    study = optuna.create_study(sampler=SAMPLERS[name]())
    begun = [stop_after(study, steps) for steps in range(1, 16)]
    assert all(params == begun[0] for params in begun)
    anew = [stop_after(study, 15) for _ in range(11)]
    assert all(params == begun[0] for params in anew[:10]) and anew[10] != begun[0]


@pytest.mark.parametrize("rule", [BaMSOO, lambda belief: BaMSOO2014(belief, 0.05)])
def test_what_was_decided_is_asked_again_whatever_the_model_thinks_now(
    rule: Callable[[Any], Rule[Any]],
) -> None:
    """A process on another machine has other floats; here it has quite another belief."""
    for step in range(N):
        study = optuna.create_study(sampler=of_rule(rule(Nearests(0.1))))
        study.optimize(bowl, n_trials=step)
        ctrl_c(study)
        study.sampler = of_rule(rule(Nearests(0.001)))
        study.optimize(bowl, n_trials=1)
        assert study.trials[-1].params == study.trials[-2].params


def test_the_real_model_s_run_goes_on_as_well() -> None:
    whole = optuna.create_study(sampler=BaMSOOSampler(search_space=dict(SPACE)))
    whole.optimize(bowl, n_trials=13)
    study = optuna.create_study(sampler=BaMSOOSampler(search_space=dict(SPACE)))
    for step in range(13):
        if step > 6:  # the model has begun to choose
            CUTS[step % 3](study)
        study.optimize(bowl, n_trials=1)
    assert values(study) == values(whole)


@pytest.mark.parametrize("n_before", range(5))
def test_the_retry_of_a_trial_of_another_sampler_takes_no_other_point(n_before: int) -> None:
    """It has some parameters from there, and the others are chosen to them."""
    space: dict[str, BaseDistribution] = {"x": IntDistribution(0, 2), "y": IntDistribution(0, 2)}

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_int("x", 0, 2) + trial.suggest_int("y", 0, 2)

    study = optuna.create_study(sampler=SOOSampler(search_space=dict(space)))
    study.optimize(objective, n_trials=n_before)
    half = optuna.trial.create_trial(
        state=TrialState.WAITING, params={"x": 2}, distributions={"x": space["x"]}
    )
    study.add_trial(half)
    study.optimize(objective, n_trials=20)
    assert study.trials[n_before].params["x"] == 2
    assert len({(t.params["x"], t.params["y"]) for t in study.trials}) == len(study.trials) == 9
