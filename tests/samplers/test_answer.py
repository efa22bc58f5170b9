"""The answer of a study: not the luckiest trial, and without noise none but the best."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import math
from pathlib import Path
import random
from typing import Any

from backends import python
from bowl import bowl
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import create_trial
import pytest

from optuna_partition import answer
from optuna_partition import Best
from optuna_partition import best_trial
from optuna_partition import ranked_trials
from optuna_partition import SOOSampler
from optuna_partition._rules.belief import BeliefFailed


AXIS = FloatDistribution(0, 1)
SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": lambda: RandomSampler(seed=0),
    "tpe": lambda: TPESampler(seed=0),
    "soo": SOOSampler,
}


def study_of(
    values: Sequence[float], places: Sequence[float], direction: str = "minimize"
) -> optuna.Study:
    study = optuna.create_study(direction=direction)
    for value, x in zip(values, places, strict=True):
        study.add_trial(create_trial(value=value, params={"x": x}, distributions={"x": AXIS}))
    return study


def lucky(direction: str = "minimize") -> optuna.Study:
    """(x - 0.3)^2 with some noise on a grid, and a trial at 0.9 that was very lucky."""
    chance, sign = random.Random(0), 1 if direction == "minimize" else -1
    places = [i / 40 for i in range(41)]
    values = [sign * ((x - 0.3) ** 2 + chance.gauss(0, 0.05)) for x in places]
    values[36] = sign * -0.1
    return study_of(values, places, direction)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_without_noise_it_is_the_best_trial(sampler: str, direction: str) -> None:
    sign = 1 if direction == "minimize" else -1
    study = optuna.create_study(sampler=SAMPLERS[sampler](), direction=direction)
    study.optimize(lambda trial: sign * bowl(trial), n_trials=40)
    best = best_trial(study)
    assert best.trial == study.best_trial
    assert best.value == study.best_value
    assert best.low < best.mean < best.high
    assert best.mean == pytest.approx(best.value, abs=0.01)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_with_noise_it_is_not_the_luckiest(direction: str) -> None:
    study = lucky(direction)
    assert study.best_params == {"x": 0.9}
    best = best_trial(study)
    assert best.trial.params["x"] == pytest.approx(0.3, abs=0.1)
    assert best.low <= 0 <= best.high
    assert best.high - best.low < 0.2


def test_it_is_told_how_far_the_luckiest_is_to_be_believed() -> None:
    found = {best.trial.number: best for best in ranked_trials(lucky())}
    assert found[36].value == -0.1
    assert found[36].mean == pytest.approx(0.36, abs=0.15)
    assert found[36].believed


def test_maximising_is_minimising_with_the_sign_turned() -> None:
    for a, b in zip(ranked_trials(lucky()), ranked_trials(lucky("maximize")), strict=True):
        assert a.trial.number == b.trial.number
        moments = [(a.value, a.mean, a.deviation), (-b.value, -b.mean, b.deviation)]
        ends = [(a.low, a.high), (-b.high, -b.low)]
        for mine, turned in (moments, ends):
            assert np.array_equal(mine, turned, equal_nan=True)


def test_the_best_of_each_point_once() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    chance = random.Random(0)
    study.optimize(lambda trial: trial.suggest_int("n", 0, 9) + chance.gauss(0, 1), n_trials=80)
    found = ranked_trials(study)
    assert [best.mean for best in found] == sorted(best.mean for best in found)
    assert sorted(best.trial.params["n"] for best in found) == list(range(10))
    assert sum(best.repeats for best in found) == 80
    for best in found:
        there = [t.value for t in study.trials if t.params == best.trial.params]
        assert best.repeats == len(there)
        assert best.trial.value == min(there)
        assert best.value == pytest.approx(np.mean(there))
    assert [best.trial for best in ranked_trials(study, 3)] == [best.trial for best in found[:3]]
    assert best_trial(study) == found[0]


def observed(study: optuna.Study) -> list[Best]:
    found = ranked_trials(study)
    for best in found:
        assert not best.believed
        assert best.mean == best.value
        assert math.isnan(best.deviation)
        assert math.isnan(best.low)
        assert math.isnan(best.high)
    return found


def test_of_too_few_values_it_is_the_best_observed() -> None:
    found = observed(study_of([3.0, 1.0, 2.0], [0.1, 0.2, 0.3]))
    assert [best.value for best in found] == [1, 2, 3]
    found = observed(study_of([3.0, 2.0, 6.0], [0.1, 0.2, 0.1], "maximize"))
    assert [(best.value, best.trial.value, best.repeats) for best in found] == [
        (4.5, 6.0, 2),
        (2.0, 2.0, 1),
    ]


def test_of_one_point_or_of_none_it_is_the_mean() -> None:
    assert [best.value for best in observed(study_of([1.0, 2.0] * 4, [0.5] * 8))] == [1.5]
    study = optuna.create_study()
    study.optimize(lambda trial: float(trial.number), n_trials=5)
    (best,) = observed(study)
    assert (best.value, best.repeats, best.trial.number) == (2.0, 5, 0)


def test_a_model_that_fails_leaves_what_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BeliefFailed("no model")

    monkeypatch.setattr("optuna_partition._gp.process.GaussianProcess.fit", fail)
    assert observed(lucky())[0].trial.params == {"x": 0.9}


def test_what_looks_like_noise_alone_is_not_believed() -> None:
    """Without neighbours that agree nothing says which values are luck."""
    chance = random.Random(0)
    study = study_of([chance.random() for _ in range(40)], [chance.random() for _ in range(40)])
    assert observed(study)[0].trial == study.best_trial


def test_infinite_and_vast_values_are_the_last() -> None:
    places = [i / 20 for i in range(21)]
    values = [(x - 0.5) ** 2 for x in places]
    values[10], values[0] = math.inf, 1e200
    found = ranked_trials(study_of(values, places))
    assert [best.trial.number for best in found[-2:]] == [0, 10]
    assert [best.believed for best in found] == [best.value < 0.2 for best in found]  # as below
    assert found[0].trial.number in (9, 11)
    assert [best.value for best in observed(study_of([math.inf] * 5, places[:5]))] == [
        math.inf
    ] * 5
    assert observed(study_of([1e308, 1e308, -1e308, math.inf], [0.5] * 4))[0].value == math.inf


def test_what_the_model_does_not_see_is_as_observed() -> None:
    """It draws in what is far from the best, where no interval would hold."""
    places = [i / 40 for i in range(41)]
    chance = random.Random(0)
    values = [(x - 0.3) ** 2 + chance.gauss(0, 0.05) + 40 * (x > 0.8) * x for x in places]
    for each in ranked_trials(study_of(values, places)):
        x = each.trial.params["x"]
        assert each.believed == (x <= 0.8), x
        assert each.believed or each.mean == each.value


def test_values_whose_squares_are_nothing_have_the_same_answer() -> None:
    found = []
    for unit in (1.0, 2.0**-700):
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        study.optimize(lambda t, u=unit: u * t.suggest_float("x", -4, 5) ** 2, n_trials=10)
        best = best_trial(study)
        found.append((best.mean / unit, best.low / unit, best.high / unit))
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert found[0][0] < found[0][2] < 1


def test_only_complete_trials_count() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if trial.number % 3 == 0:
            trial.report(-9, 0)
            raise optuna.TrialPruned
        return math.nan if trial.number % 3 == 1 else x

    study.optimize(objective, n_trials=30)
    study.ask({"x": AXIS})
    study.enqueue_trial({"x": 0.0})
    assert sorted(best.trial.number for best in ranked_trials(study)) == list(range(2, 30, 3))
    assert best_trial(study).trial.number == study.best_trial.number


def test_only_what_breaks_no_constraint_is_an_answer() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("large", 0.4 - x)
        return x

    study.optimize(objective, n_trials=40)
    found = ranked_trials(study)
    assert found[0].trial == study.best_trial
    assert {best.trial.number for best in found} == {
        trial.number for trial in study.trials if trial.params["x"] >= 0.4
    }


def test_no_answer_is_an_error() -> None:
    study = optuna.create_study()
    with pytest.raises(ValueError, match="must have a complete trial"):
        best_trial(study)
    assert ranked_trials(study) == []
    study.optimize(lambda trial: trial.set_constraint("c", 1.0) or 1.0, n_trials=2)
    with pytest.raises(ValueError, match="2 complete, 0 feasible.*loosen"):
        best_trial(study)
    with pytest.raises(ValueError, match=r"must be an `optuna.Study`, but got \('study'\)"):
        best_trial("study")  # type: ignore[arg-type]
    two = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="must have one objective"):
        best_trial(two)


def test_without_botorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r'pip install "optuna-partition\[botorch\]"'):
        best_trial(lucky())


def branching(trial: optuna.Trial) -> float:
    """At "b" and the middle of n."""
    kind = trial.suggest_categorical("kind", ["a", "b"])
    if kind == "a":
        return (trial.suggest_float("x", 0, 1) - 0.3) ** 2 + 0.2
    depth = trial.suggest_categorical("depth", ["shallow", "deep"])
    more = abs(trial.suggest_float("y", 1e-4, 1, log=True) - 0.1) if depth == "deep" else 0.1
    return abs(trial.suggest_int("n", 0, 8) - 4) / 8 + more


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_branches_have_one_answer(sampler: str) -> None:
    study = optuna.create_study(sampler=SAMPLERS[sampler]())
    study.optimize(lambda t: branching(t) + random.Random(t.number).gauss(0, 0.01), n_trials=60)
    best = best_trial(study)
    assert best.believed
    assert branching(best.trial) == pytest.approx(min(map(branching, study.trials)), abs=0.03)


def test_ranges_that_change_have_one_answer() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        return abs(trial.suggest_float("x", 0, 1 + trial.number % 4) - 1.5)

    study.optimize(objective, n_trials=40)
    assert best_trial(study).trial == study.best_trial


def test_a_study_is_as_it_was_and_so_are_its_trials() -> None:
    study = lucky()
    before = study.trials
    best_trial(study).trial.params["x"] = 7.0
    assert study.trials == before


_ELSEWHERE = """
import sys, optuna, optuna_partition
study = optuna.load_study(study_name="s", storage=sys.argv[1])
best = optuna_partition.best_trial(study)
print(best.trial.number, best.mean.hex(), best.deviation.hex())
"""


def test_another_process_has_the_same_answer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="s", storage=url)
    study.add_trials(lucky().trials)
    process = python(_ELSEWHERE, url)
    told = process.communicate()
    assert process.returncode == 0, told
    best = best_trial(study)
    expected = [str(best.trial.number), best.mean.hex(), best.deviation.hex()]
    assert told[0].split() == expected


def test_good_values_that_are_infeasible_do_not_hide_those_that_are_feasible() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("c", 0.5 - x)
        return x**2

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for x in (*(i / 100 for i in range(12)), 0.9, 0.7, 0.51, 0.8):
        study.enqueue_trial({"x": x})
    study.optimize(objective, n_trials=16)
    assert best_trial(study).value == study.best_value


def test_where_a_point_shows_no_noise_the_best_value_stands() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(2):
        study.enqueue_trial({"x": 0.3, "y": 0.4})
    study.optimize(
        lambda t: 1e4 * math.sin(40 * t.suggest_float("x", 0, 1) * t.suggest_float("y", 0, 1)), 40
    )
    best = best_trial(study)
    assert best.trial.number == study.best_trial.number and not best.believed


@pytest.mark.parametrize("n", [-1, 2.5, "3"])
def test_how_many_is_a_number_of_trials(n: Any) -> None:
    with pytest.raises(ValueError, match="`n` must be an integer and `n >= 0`"):
        ranked_trials(lucky(), n)
