"""Priors of people: where the search starts, what the model expects, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import LogNormal
from optuna_partition import Normal
from optuna_partition._gp.sources import Surprise
from optuna_partition._known.prior import Priors


SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "rank": IntDistribution(2, 64, log=True),
    "dropout": FloatDistribution(0, 0.5),
    "optimizer": CategoricalDistribution(["adamw", "sgd", None]),
}
PRIOR = {"rate": LogNormal(3e-4, factor=3), "dropout": Normal(0.1, 0.05), "optimizer": "sgd"}


def study_of(prior: dict[str, Any] | None, seed: int | None = None) -> optuna.Study:
    sampler = BaMSOOSampler(search_space=SPACE, prior=prior, seed=seed)
    return optuna.create_study(sampler=sampler)


def loss(params: dict[str, Any], best_rate: float) -> float:
    value = math.log10(params["rate"] / best_rate) ** 2 + (params["dropout"] - 0.1) ** 2
    return value + 0.1 * math.log2(params["rank"] / 8) ** 2 + (params["optimizer"] != "sgd")


def evaluations(
    prior: dict[str, Any] | None, best_rate: float, enough: float, seed: int | None = None
) -> int:
    study = study_of(prior, seed)
    for n in range(1, 41):
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params, best_rate))
        if study.best_value <= enough:
            return n
    return 41


def test_the_search_starts_where_the_best_is_expected() -> None:
    params = study_of(PRIOR).ask(SPACE).params
    assert params["rate"] == pytest.approx(3e-4, rel=1e-3)
    assert params["dropout"] == pytest.approx(0.1, abs=1e-3)
    assert params["optimizer"] == "sgd"
    assert params["rank"] == 10  # no prior: the centre


def test_it_starts_there_without_a_search_space() -> None:
    study = optuna.create_study(sampler=BaMSOOSampler(prior=PRIOR))
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=1)
    params = study.trials[0].params
    assert params["rate"] == pytest.approx(3e-4, rel=1e-3)
    assert (params["rank"], params["optimizer"]) == (11, "sgd")


def test_numpy_s_numbers_are_numbers() -> None:
    space = {"n": IntDistribution(1, 9)}
    study = optuna.create_study(
        sampler=BaMSOOSampler(search_space=dict(space), prior={"n": np.int64(3)})
    )
    assert study.ask(dict(space)).params == {"n": 3}


def test_a_good_prior_halves_the_evaluations() -> None:
    assert evaluations(PRIOR, 4e-4, 0.2) <= evaluations(None, 4e-4, 0.2) / 2


def test_a_wrong_prior_is_overcome() -> None:
    wrong = {"rate": LogNormal(1e-4, factor=1.5)}
    with_it, without = (
        np.mean([evaluations(prior, 3e-2, 0.3, seed) for seed in range(4)])
        for prior in (wrong, None)
    )
    assert with_it <= 1.3 * without


def test_the_same_prior_is_the_same_search() -> None:
    def found() -> list[dict[str, Any]]:
        study = study_of(PRIOR)
        study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=8)
        return [trial.params for trial in study.trials]

    assert found() == found()


def _asked(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True),
        "rank": trial.suggest_int("rank", 2, 64, log=True),
        "dropout": trial.suggest_float("dropout", 0, 0.5),
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "sgd", None]),
    }


def test_what_a_prior_expects_is_the_logarithm_of_cauchy_s_density() -> None:
    (prior,) = Priors({"rate": LogNormal(1e-3, factor=10), "optimizer": {"adamw": 4, "sgd": 1}})(
        SPACE
    )
    expects = Surprise.of(prior, "cpu")
    at = np.array([[0.5, 0.5, 0.5, 1 / 6], [0.0, 0.9, 0.1, 0.5], [1.0, 0.5, 0.5, 5 / 6]])
    found = expects(Surprise.of(prior, "cpu").centre.new_tensor(at)).tolist()
    # a factor of ten is a quarter of the range of four decades, so an end is two spreads away
    far = math.log(1 + 2**2)
    assert found == pytest.approx([0.0, far + math.log(4), far + math.log(20)])


def test_a_vague_prior_says_little() -> None:
    """Its expectation differs by less than one deviation over the whole cube."""
    (prior,) = Priors({"dropout": Normal(0.25, 0.5)})({"dropout": FloatDistribution(0, 0.5)})
    expects = Surprise.of(prior, "cpu")
    ends = expects(expects.centre.new_tensor([[0.0], [1.0]]))
    assert float(ends.max()) < 0.25


def test_a_normal_prior_on_a_logarithmic_axis_may_reach_below_zero() -> None:
    (prior,) = Priors({"rate": Normal(1e-3, 1e-3)})(SPACE)
    assert prior.spread[0] == pytest.approx(math.log10(2) / 4)


def test_with_earlier_studies_both_count() -> None:
    earlier = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    earlier.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=12)
    sampler = BaMSOOSampler(search_space=SPACE, prior=PRIOR, previous=[earlier])
    study = optuna.create_study(sampler=sampler)
    first, second = study.ask(SPACE), study.ask(SPACE)
    assert first.params["rate"] == pytest.approx(3e-4, rel=1e-3)
    best = earlier.best_trial.params
    assert second.params["optimizer"] == best["optimizer"]
    assert second.params["rate"] == pytest.approx(best["rate"], rel=1e-2)


def test_a_study_goes_on_with_another_prior() -> None:
    study = study_of(PRIOR)
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=4)
    study.sampler = BaMSOOSampler(search_space=SPACE, prior={"rank": 16})
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=4)
    assert len({str(trial.params) for trial in study.trials}) == 8


@pytest.mark.parametrize(
    ("prior", "rule"),
    [
        ([3e-4], "must be a dictionary"),
        ({"learning_rate": 3e-4}, r"parameters of `search_space`.*learning_rate.*'rate'"),
        ({"rate": 1.0}, "within the parameter's range.*1e-05 to 0.1"),
        ({"rate": LogNormal(1.0)}, "within the parameter's range"),
        ({"rate": "small"}, r"a number, `Normal` or `LogNormal`.*LogNormal\(0.001, factor=3\)"),
        ({"dropout": None}, r"`Normal` or `LogNormal`.*Normal\(0.25, deviation=0.1\)"),
        ({"rank": True}, "a number, `Normal`"),
        ({"rate": math.nan}, "a number, `Normal`"),
        ({"optimizer": "adam"}, "one of the parameter's choices"),
        ({"optimizer": {"adamw": 0}}, "weights above 0"),
        ({"optimizer": {"adam": 1}}, "one of the parameter's choices"),
        ({"optimizer": Normal(1, 1)}, "one of the parameter's choices"),
        ({"optimizer": ["sgd"]}, "one of the parameter's choices"),
        ({"optimizer": {}}, "one of the parameter's choices"),
    ],
)
def test_what_is_no_prior_is_refused(prior: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        BaMSOOSampler(search_space=SPACE, prior=prior)


@pytest.mark.parametrize("values", [(0.0,), (1e-3, 1.0), (math.inf,), ("1e-3",)])
def test_what_is_no_log_normal_is_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="`LogNormal` must have a median above 0"):
        LogNormal(*values)


@pytest.mark.parametrize("values", [(0.1, 0.0), (math.nan, 1.0), (0.1, -1.0), (True, 1.0)])
def test_what_is_no_normal_is_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="`Normal` must have a finite mean"):
        Normal(*values)


def test_the_published_rule_takes_none() -> None:
    with pytest.raises(ValueError, match="as_published"):
        BaMSOOSampler(as_published=True, prior={"x": 1.0})


def test_a_name_that_the_study_has_not_is_told(caplog: pytest.LogCaptureFixture) -> None:
    study = optuna.create_study(sampler=BaMSOOSampler(prior={"learning_rate": 3e-4}))
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=3)
    optuna.logging.disable_propagation()
    assert "`prior` is for ['learning_rate'], and has no effect" in caplog.text


def test_a_value_outside_a_range_that_is_known_later_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = optuna.create_study(sampler=BaMSOOSampler(prior={"rate": 5.0, "optimizer": "sgd"}))
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=3)
    optuna.logging.disable_propagation()
    assert "within the parameter's range" in caplog.text and "It is left out." in caplog.text
    assert study.trials[0].params["optimizer"] == "sgd"


def test_a_prior_of_which_nothing_is_left_leaves_the_search_as_it_is() -> None:
    asked = []
    for prior in (None, {"rate": 5.0, "optimizer": "adamax"}):
        study = optuna.create_study(sampler=BaMSOOSampler(prior=prior))
        study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=8)
        asked.append([trial.params for trial in study.trials])
    assert asked[0] == asked[1]


@pytest.mark.parametrize("prior", ["adam", {"adamw": 0}], ids=["no choice", "no weight"])
def test_what_is_left_out_leaves_the_first_trial_as_it_is_and_is_told_once(
    prior: object, caplog: pytest.LogCaptureFixture
) -> None:
    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=BaMSOOSampler(prior={"optimizer": prior}))
    study.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=3)
    optuna.logging.disable_propagation()
    plain = optuna.create_study(sampler=BaMSOOSampler())
    plain.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=1)
    assert study.trials[0].params == plain.trials[0].params
    told = {id(r) for r in caplog.records if "It is left out." in r.message}  # pytest has it twice
    assert len(told) == 1


def test_a_narrow_prior_is_no_needle() -> None:
    (prior,) = Priors({"dropout": Normal(0.1, 1e-300)})(SPACE)
    assert prior.spread[2] == 0.01


def test_along_other_axes_it_starts_where_the_earlier_study_was_best() -> None:
    earlier = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    earlier.optimize(lambda trial: loss(_asked(trial), 4e-4), n_trials=12)
    sampler = BaMSOOSampler(
        search_space=SPACE, prior={"rate": LogNormal(3e-4)}, previous=[earlier]
    )
    params = optuna.create_study(sampler=sampler).ask(SPACE).params
    best = earlier.best_params
    assert params["rate"] == pytest.approx(3e-4, rel=1e-3)
    assert (params["optimizer"], params["rank"]) == (best["optimizer"], best["rank"])


def test_a_finite_space_with_a_prior_is_evaluated_whole_and_once() -> None:
    space = {"a": IntDistribution(1, 4), "b": CategoricalDistribution([0, 1, 2])}
    sampler = BaMSOOSampler(search_space=space, prior={"a": 2}, deterministic=True)
    study = optuna.create_study(sampler=sampler)
    study.optimize(
        lambda trial: trial.suggest_int("a", 1, 4) * trial.suggest_categorical("b", [0, 1, 2]), 20
    )
    assert len(study.trials) == len({str(trial.params) for trial in study.trials}) == 12


def test_what_an_enqueued_first_trial_leaves_out_is_where_the_best_is_expected() -> None:
    study = study_of(PRIOR)
    study.enqueue_trial({"rank": 8})
    params = study.ask(SPACE).params
    assert (params["rank"], params["optimizer"]) == (8, "sgd")
    assert params["rate"] == pytest.approx(3e-4, rel=1e-3)
    assert study.ask(SPACE).params["rank"] == 10  # the prior's own start comes next
