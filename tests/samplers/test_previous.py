"""Earlier studies: what they are good for, and what they cannot spoil."""

from __future__ import annotations

from collections.abc import Callable
import math
import pickle

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from benchmarks.previous import bamsoo
from benchmarks.previous import grids
from optuna_partition import BaMSOOSampler
from optuna_partition._gp.process import _expert
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._known.previous import read_previous
from optuna_partition._rules.belief import Domain


Objective = Callable[[optuna.Trial], float]


KIND = "choices"


def test_the_best_of_one_model_is_found_by_what_is_known_of_others() -> None:
    """The bar of half the evaluations, with room: 0.3 is what is measured on all 27 models."""
    found = grids()
    models = sorted(found, key=lambda name: (len(found[name]), name))[-8:]
    ratios = []
    for model in models:
        others = [found[name] for name in models if name != model]
        with_others = bamsoo(found[model], KIND, others, 1.0)
        ratios.append(with_others / bamsoo(found[model], KIND, [], 1.0))
    assert math.prod(ratios) ** (1 / len(ratios)) < 0.5, ratios


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0, 1),
    "y": FloatDistribution(1e-4, 1, log=True),
    "z": FloatDistribution(0, 1),
}


def bowl(params: dict[str, float]) -> float:
    return (params["x"] - 0.8) ** 2 + (math.log10(params["y"]) / 4 + 0.3) ** 2 + params["z"] ** 2


def bowls(sign: float = 1.0, n: int = 40) -> optuna.Study:
    """An earlier study whose values are of another unit."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    for _ in range(n):
        trial = study.ask(SPACE)
        study.tell(trial, sign * (100 * bowl(trial.params) + 7))
    return study


def search(previous: list[optuna.Study], n: int) -> optuna.Study:
    sampler = BaMSOOSampler(search_space=SPACE, deterministic=True, previous=previous)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: bowl(_suggested(trial)), n_trials=n)
    return study


def _suggested(trial: optuna.Trial) -> dict[str, float]:
    return {
        "x": trial.suggest_float("x", 0, 1),
        "y": trial.suggest_float("y", 1e-4, 1, log=True),
        "z": trial.suggest_float("z", 0, 1),
    }


def test_the_first_point_is_the_best_of_the_earlier_study() -> None:
    earlier = bowls()
    first, second = search([earlier], 2).trials
    assert first.params == pytest.approx(earlier.best_params)
    assert second.params != pytest.approx(earlier.best_params)


def test_a_study_upside_down_is_seen_through() -> None:
    """It starts at the worst points, and is then where a search without it is."""
    study = search([bowls(sign=-1)], 16)
    assert study.best_value < 0.02
    assert all(bowl(trial.params) > 0.3 for trial in study.trials[:2])


def test_a_new_process_asks_as_the_old_one_would_have() -> None:
    earlier = bowls()
    whole = search([earlier], 8)
    study = optuna.create_study()
    for trial in whole.trials[:5]:
        study.add_trial(trial)
    sampler = BaMSOOSampler(search_space=SPACE, deterministic=True, previous=[earlier])
    study.sampler = pickle.loads(pickle.dumps(sampler))
    study.optimize(lambda trial: bowl(_suggested(trial)), n_trials=3)
    assert [t.params for t in study.trials] == [t.params for t in whole.trials]


def test_no_point_twice_with_many_asking_at_once() -> None:
    sampler = BaMSOOSampler(search_space=SPACE, previous=[bowls()])
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask(SPACE) for _ in range(16)]
    assert len({str(trial.params) for trial in trials}) == 16


def test_a_study_of_other_parameters_and_bounds_tells_what_it_can() -> None:
    space = {
        "number": IntDistribution(1, 9),
        "kind": CategoricalDistribution(["a", "b"]),
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "new": FloatDistribution(0, 1),
    }
    trials = (
        {"number": 1, "kind": "a", "rate": 1e-3, "old": 5},
        {"number": 5, "kind": "b", "rate": 1e-1},  # above the range by half of it
        {"number": 9, "kind": "c", "rate": 1e-3},  # of a kind that there is not
        {"number": 9, "kind": "b", "rate": 1e-2},
        {"number": 9, "kind": "b", "rate": 0.0},
    )
    wide = {
        "number": IntDistribution(1, 20),
        "kind": CategoricalDistribution(["c", "b", "a"]),
        "rate": FloatDistribution(0, 1),
        "old": IntDistribution(0, 9),
    }
    earlier = optuna.create_study()
    for value, params in enumerate(trials, start=1):
        own = {name: wide[name] for name in params}
        trial = create_trial(params=params, distributions=own, value=value)
        earlier.add_trial(trial)
    (source,) = read_previous([earlier], as_published=False)(space)
    assert source.y == (1.0, 2.0, 4.0, 5.0)
    expected = [(1 / 18, 0.25, 0.5, 0.5), (0.5, 0.75, 1.5, 0.5), (17 / 18, 0.75, 1.0, 0.5)]
    for found, wanted in zip(source.x, [*expected, (17 / 18, 0.75, -1.0, 0.5)], strict=True):
        assert found == pytest.approx(wanted)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_study_of_hardly_any_trials_says_nothing(n: int) -> None:
    asked = [t.params for t in search([bowls(n=n)], 3).trials]
    assert asked == [t.params for t in search([], 3).trials]


def test_what_maximises_and_what_failed_counts_as_it_is_meant() -> None:
    study = optuna.create_study(direction="maximize")
    for x in (0.0, 0.5, 1.0):
        params, space = {"x": x}, {"x": FloatDistribution(0, 1)}
        study.add_trial(create_trial(params=params, distributions=space, value=x))
    failed = create_trial(state=TrialState.FAIL, params={"x": 0.9}, distributions=space)
    study.add_trial(failed)
    target = optuna.create_study(
        sampler=BaMSOOSampler(search_space={"x": FloatDistribution(0, 1)}, previous=[study])
    )
    assert target.ask().suggest_float("x", 0, 1) == pytest.approx(1.0)


def test_noise_and_failures_of_this_study_are_dealt_with_as_ever() -> None:
    def rough(trial: optuna.Trial) -> float:
        params = _suggested(trial)
        if params["x"] < 0.1:
            return math.nan
        return bowl(params) + 0.01 * math.sin(1000 * trial.number)

    sampler = BaMSOOSampler(search_space=SPACE, previous=[bowls(), bowls(sign=-1)])
    study = optuna.create_study(sampler=sampler)
    study.optimize(rough, n_trials=14)
    assert study.best_value < 0.2


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (lambda: bowls(), r"must be a list of studies.*previous=\[study\]"),
        (lambda: "study", r"list of studies, but got \('study'\); write previous"),
        (lambda: ["study"], "must be a list of studies, but got"),
        (lambda: [optuna.create_study(directions=["minimize", "maximize"])], "one objective"),
    ],
)
def test_what_is_no_earlier_study_is_refused(given: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        BaMSOOSampler(previous=given())  # type: ignore[arg-type]


def test_the_published_rule_takes_none() -> None:
    with pytest.raises(ValueError, match="as_published"):
        BaMSOOSampler(as_published=True, previous=[bowls()])


def test_a_point_outside_this_study_s_bounds_is_not_one_at_its_edge() -> None:
    """The earlier study's best is beyond the edge, and its values rise on the way there."""
    wide = {"x": FloatDistribution(0, 2)}
    earlier = optuna.create_study()
    for i in range(21):
        value = -1.0 if i == 20 else i / 20  # the best at 2.0; within 0 to 1 the best is 0.0
        trial = create_trial(params={"x": i / 10}, distributions=wide, value=value)
        earlier.add_trial(trial)
    space = {"x": FloatDistribution(0, 1)}
    process = GaussianProcess(Domain((None,), ()))
    (source,) = read_previous([earlier], as_published=False)(space)
    expects = _expert(process, source)
    assert expects is not None
    inside = expects.expects(process.tensor(np.array([[0.0], [0.5], [1.0]]))).tolist()
    assert inside == sorted(inside)


def test_an_infeasible_trial_is_no_place_to_start() -> None:
    earlier = optuna.create_study()
    space = {"x": FloatDistribution(0, 1)}
    for x in (0.1, 0.4, 0.7, 0.9):
        trial = earlier.ask(space)
        trial.set_constraint("c", 1.0 if trial.params["x"] < 0 else -1.0)
        earlier.tell(trial, x)
    best = earlier.ask({"x": FloatDistribution(0, 1)})
    best.set_constraint("c", 1.0)
    earlier.tell(best, -5.0)
    (source,) = read_previous([earlier], as_published=False)(space)
    assert min(source.y) == 0.1 and source.y.count(0.9) == 2


def test_an_interrupted_trial_says_nothing() -> None:
    earlier = bowls(n=5)
    earlier.sampler = BaMSOOSampler(search_space=SPACE)
    trial = earlier.ask(SPACE)
    earlier.tell(trial, state=TrialState.FAIL)
    of_nomad = {"partition:nomad": {"space": "", "at": []}}
    stopped = earlier.trials[-1]
    earlier.add_trial(
        create_trial(
            state=TrialState.FAIL,
            params=stopped.params,
            distributions=stopped.distributions,
            system_attrs=of_nomad,
        )
    )
    (source,) = read_previous([earlier], as_published=False)(SPACE)
    assert len(source.y) == 5


def test_without_a_search_space_the_first_trial_is_at_the_best_of_the_earlier() -> None:
    earlier = bowls(n=9)
    study = optuna.create_study(sampler=BaMSOOSampler(previous=[earlier]))
    trial = study.ask()
    for name, distribution in SPACE.items():
        trial._suggest(name, distribution)
    assert trial.params == pytest.approx(earlier.best_params, rel=1e-3)
