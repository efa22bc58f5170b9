"""Parameters of branches: found given the rest, kept in the trials, never the same for two."""

from __future__ import annotations

from collections.abc import Callable
import math
import pickle
import statistics

from beliefs import Nearests
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition._gp.models import Models
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._study.attributes import FITS
from optuna_partition._study.outside.branches import branch_of
from optuna_partition._study.outside.branches import BranchSampler


LHS = LatinHypercubeSampler(n_trials=64, seed=1)
"""Draws that depend on the trial's number only, so that what a model chose can be told."""


def searching(fallback: BaseSampler = LHS) -> BaMSOOSampler:
    models = Models()
    return sampling(BranchSampler(BaMSOO(models), models, fallback))


def sampling(branches: BaseSampler) -> BaMSOOSampler:
    return BaMSOOSampler(independent_sampler=branches, warn_independent_sampling=False)


def bent(trial: optuna.Trial) -> float:
    """Two branches, the better one with a valley across what is chosen outside it."""
    x = trial.suggest_float("x", 0, 1)
    if trial.suggest_categorical("kind", ["flat", "bent"]) == "flat":
        return 1 + trial.suggest_float("slope", 0, 1)
    u, v = trial.suggest_float("u", 0, 1), trial.suggest_float("v", 1e-4, 1, log=True)
    return (u - x**2) ** 2 + (v - 0.03) ** 2 + (x - 0.7) ** 2


def points(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.trials]


def test_a_branch_is_searched_given_what_its_trial_has_decided() -> None:
    def gap(sampler: BaseSampler) -> float:
        """From the valley, which is elsewhere for every x."""
        study = optuna.create_study(sampler=sampler)
        study.optimize(bent, n_trials=40)
        late = [t.params for t in study.trials[15:] if "u" in t.params]
        return statistics.median(abs(p["u"] - p["x"] ** 2) for p in late)

    drawn = [LatinHypercubeSampler(n_trials=64, seed=seed) for seed in range(2)]
    peers = [TPESampler(seed=seed) for seed in range(2)]
    assert 2 * sum(gap(searching(each)) for each in drawn) < sum(
        gap(sampling(each)) for each in peers
    )


def test_what_is_maximised_is_searched_as_its_negative_is_minimised() -> None:
    down, up = (optuna.create_study(direction=to) for to in ("minimize", "maximize"))
    for study, sign in ((down, 1), (up, -1)):
        study.sampler = searching()
        study.optimize(lambda trial: sign * bent(trial), n_trials=12)  # noqa: B023
    assert points(up) == points(down)


def test_a_new_process_at_every_step_asks_for_the_same_points() -> None:
    whole = optuna.create_study(sampler=searching())
    whole.optimize(bent, n_trials=14)
    halting = optuna.create_study()
    for _ in range(14):
        halting.sampler = pickle.loads(pickle.dumps(searching()))
        halting.optimize(bent, n_trials=1)
    assert points(halting) == points(whole)
    fits = [t for t in whole.trials if FITS in t.system_attrs]
    assert 1 < len(fits) < 6, "the trials keep a fit, and not each its own"


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("n_trials", [1, 3])
def test_what_has_no_model_yet_is_drawn_by_trial(seed: int | None, n_trials: int) -> None:
    """No stream of random numbers begins anew with a process."""
    whole = optuna.create_study(sampler=BaMSOOSampler(seed=seed))
    whole.optimize(bent, n_trials=6)
    halting = optuna.create_study()
    for _ in range(6 // n_trials):
        halting.sampler = BaMSOOSampler(seed=seed)
        halting.optimize(bent, n_trials=n_trials)
    assert points(halting) == points(whole)


def test_workers_in_the_same_branch_are_sent_to_different_points() -> None:
    """Nothing but the branch tells them apart: the partition has two points, both taken."""
    study = optuna.create_study(sampler=searching(TPESampler(seed=1)))
    space = {"kind": CategoricalDistribution(["a", "b"])}

    def asked() -> tuple[optuna.Trial, float]:
        trial = study.ask(dict(space))
        return trial, trial.suggest_float(f"{trial.params['kind']}_at", 0, 1)

    for _ in range(12):
        trial, at = asked()
        study.tell(trial, (at - 0.3) ** 2)
    flying = [asked() for _ in range(8)]
    assert len({(trial.params["kind"], at) for trial, at in flying}) == 8


def test_no_point_of_a_branch_is_asked_for_twice_while_there_are_others() -> None:
    """Also by a model that wants the best one again and again."""
    study = optuna.create_study(
        sampler=sampling(BranchSampler(BaMSOO(Models()), Nearests(doubt=0), LHS))
    )

    def steps(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["a", "b"]) == "b":
            return trial.suggest_float("x", 0, 1)
        return trial.suggest_int("n", 1, 5)

    for fixed in ({"kind": "a", "n": 1}, {"kind": "a", "n": 2}, *[{"kind": "a"}] * 3):
        study.enqueue_trial(fixed)
    study.optimize(steps, n_trials=5)
    assert sorted(trial.params["n"] for trial in study.trials) == [1, 2, 3, 4, 5]


def test_a_trial_that_failed_half_way_takes_nothing_from_a_branch() -> None:
    study = optuna.create_study(sampler=searching())
    study.enqueue_trial({"kind": "bent"})
    study.optimize(bent, n_trials=1)

    def failing(trial: optuna.Trial) -> float:
        trial.suggest_categorical("kind", ["flat", "bent"])
        trial.suggest_float("u", 0, 1)
        raise RuntimeError

    study.enqueue_trial({"kind": "bent"})
    study.optimize(failing, n_trials=1, catch=RuntimeError)
    assert study.trials[1].state is TrialState.FAIL
    found = branch_of(study.trials, "u", FloatDistribution(0, 1))
    assert set(found) == {"x", "kind", "u", "v"}


@pytest.mark.parametrize("after", [FloatDistribution(2, 3), FloatDistribution(0, 1, step=0.25)])
def test_a_branch_whose_parameters_change_is_another(after: FloatDistribution) -> None:
    study = optuna.create_study(sampler=searching())
    study.optimize(bent, n_trials=8)

    def changed(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if trial.suggest_categorical("kind", ["flat", "bent"]) == "flat":
            return 1 + x
        trial.suggest_float("u", after.low, after.high, step=after.step)
        return x + trial.suggest_float("v", 1e-4, 1, log=True)

    study.enqueue_trial({"kind": "bent"})
    study.optimize(changed, n_trials=8)
    late = [t.params["u"] for t in study.trials[8:] if "u" in t.params]
    assert late and all(after.low <= u <= after.high for u in late)


def test_branches_under_a_finite_partition_are_searched_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its points are soon used up, and still no trial is one of before."""

    def classifier(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("classifier", ["svc", "forest"]) == "forest":
            return 0.5 + trial.suggest_int("depth", 2, 32, log=True)
        return abs(math.log10(trial.suggest_float("c", 1e-10, 1e10, log=True)) - 2.3)

    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=BaMSOOSampler(seed=1))
    study.optimize(classifier, n_trials=25)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(study.trials) == 25 and study.best_value < 0.02
    optuna.logging.disable_propagation()


@pytest.mark.parametrize("make", [BaMSOOSampler, lambda **_: BaMSOOSampler(as_published=True)])
def test_by_default_both_rules_have_a_model_of_branches(make: Callable[[], BaseSampler]) -> None:
    study = optuna.create_study(sampler=make())
    study.optimize(bent, n_trials=8)
    assert any(FITS in trial.system_attrs for trial in study.trials)


def test_an_optimum_at_a_branch_s_bound_is_asked_for_once() -> None:
    """Its parameters come back as floats, which are not to the bit where they were asked for."""
    study = optuna.create_study(sampler=BaMSOOSampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return trial.suggest_float("xa", 0, 1) ** 2
        return trial.suggest_float("xb", 0, 1) ** 2 + 0.01

    study.optimize(objective, n_trials=30)
    points = [tuple(trial.params.items()) for trial in study.trials]
    assert len(set(points)) == len(points)
