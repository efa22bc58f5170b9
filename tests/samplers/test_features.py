"""Products of parameters beside the axes: what the model sees of them, and what is refused."""

from __future__ import annotations

from fractions import Fraction
import math
import random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
import torch

from optuna_partition import BaMSOOSampler
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._gp.structure import Coordinates
from optuna_partition._known.features import Features
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.source import Feature
from optuna_partition._space.space import Space
from optuna_partition._space.values import axis_of
from optuna_partition._space.values import coordinate_of


SPACE: dict[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(["adamw", "sgd"]),
    "rate": FloatDistribution(1e-6, 1e-1, log=True),
    "rank": IntDistribution(2, 64, log=True),
    "alpha": IntDistribution(1, 64),
    "momentum": FloatDistribution(0.1, 0.9),
    "batch": IntDistribution(4, 64, step=4),
}
POWERS = {"rate": 1, "alpha": 1, "rank": -1, "momentum": 2.0, "batch": -0.5}
RIDGE = {"strength": {"rate": 1, "alpha": 1, "rank": -1}}


def drawn(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    axes = Space(SPACE).axes
    point = [
        Fraction(draw.random()) if math.isinf(axis.size()) else draw.randint(*axis.whole())
        for axis in axes
    ]
    return Space(SPACE).params(tuple(point))


def units(space: dict[str, BaseDistribution], params: dict[str, Any]) -> list[float]:
    return [axis_of(n, d).unit(coordinate_of(d, params[n])) for n, d in space.items()]


def test_the_column_is_the_logarithm_of_the_product() -> None:
    (feature,) = Features({"f": POWERS})(SPACE)
    points = [drawn(seed) for seed in range(20)]
    x = torch.tensor(
        [units(SPACE, params) for params in points],
        dtype=torch.double,
    )
    behind = torch.arange(20.0, dtype=torch.double)[:, None]  # what sources expect
    found = Coordinates([feature], len(SPACE)).transform(torch.cat([x, behind], -1))
    assert torch.equal(found[:, :6], x) and torch.equal(found[:, 7:], behind)
    least, most = feature.range
    logs = [sum(p * math.log(params[n]) for n, p in POWERS.items()) for params in points]
    expected = [(log - least) / (most - least) for log in logs]
    assert found[:, 6].tolist() == pytest.approx(expected, rel=1e-9)
    assert 0 <= float(found[:, 6].min()) and float(found[:, 6].max()) <= 1


def ridge(params: dict[str, Any]) -> float:
    """Narrow, along all configurations of one strength, and lowest at small ranks."""
    strength = math.log10(params["rate"] * params["alpha"] / params["rank"])
    return min((strength + 3) ** 2, 2.0) + 0.05 * math.log2(params["rank"])


def error(features: tuple[Feature, ...]) -> float:
    """Of the model's expectation, root mean square, from 40 points to 200 others."""
    names = ("rate", "rank", "alpha")
    space = {name: SPACE[name] for name in names}
    points = [{name: drawn(seed)[name] for name in names} for seed in range(240)]
    y = np.array([ridge(params) for params in points])
    x = np.array([units(space, params) for params in points])
    process = GaussianProcess(Domain((None,) * 3, (), features))
    fitted = process.fit(Evidence(x[:40], y[:40], x[:0], 40), None)
    found, _ = fitted.bounds(x[40:])
    return float(np.sqrt(np.mean((found - y[40:]) ** 2)))


def test_a_ridge_is_seen() -> None:
    space = {name: SPACE[name] for name in ("rate", "rank", "alpha")}
    assert error(Features(RIDGE)(space)) < error(()) / 2


def test_a_study_goes_on_with_features_and_without() -> None:
    """The hyperparameters that trials carry are of another model then."""
    space = {name: SPACE[name] for name in ("rate", "rank", "alpha")}
    study = optuna.create_study()
    for features in (None, RIDGE, {**RIDGE, "other": {"rate": 1, "rank": 1}}, None):
        study.sampler = BaMSOOSampler(search_space=space, features=features, deterministic=True)
        for _ in range(6):
            trial = study.ask(space)
            study.tell(trial, ridge(trial.params))
    assert len({str(trial.params) for trial in study.trials}) == 24
    assert study.best_value < 0.5


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        ([RIDGE], "must be a dictionary"),
        ({"f": {"rate": 1}}, "at least two parameters"),
        ({"f": {"rate": 1, "rank": 0}}, "powers other than 0"),
        ({"f": {"rate": 1, "rank": "1"}}, "powers other than 0"),
        ({"f": {"rate": 1, "rank": math.nan}}, "powers other than 0"),
        ({"f": ["rate", "rank"]}, "at least two parameters"),
        ({"f": {"rate": 1, "rnk": 1}}, r"parameters of `search_space`.*'rnk'.*'rank'"),
        ({"f": {"rate": 1, "optimizer": 1}}, "numbers above 0.*optimizer.*leave it out of"),
        ({"f": {"rate": 1, "zero": 1}}, "numbers above 0.*zero"),
    ],
)
def test_what_is_no_feature_is_refused(features: Any, rule: str) -> None:
    space = {**SPACE, "zero": FloatDistribution(0, 1)}
    with pytest.raises(ValueError, match=rule):
        BaMSOOSampler(search_space=space, features=features)


def test_what_is_no_feature_is_refused_before_anything_is_evaluated() -> None:
    study = optuna.create_study(sampler=BaMSOOSampler(features={"f": {"a": 1, "b": 1}}))
    trial = study.ask()
    trial.suggest_float("a", 1, 2)
    with pytest.raises(ValueError, match="numbers above 0.*b=.*raise `low`"):
        trial.suggest_float("b", 0, 1)


def test_the_published_rule_takes_none() -> None:
    with pytest.raises(ValueError, match="as_published"):
        BaMSOOSampler(as_published=True, features=RIDGE)


def test_what_is_not_searched_counts_as_fixed() -> None:
    space = {name: SPACE[name] for name in ("rate", "rank")}
    (feature,) = Features(RIDGE)(space)
    assert [(term[0], term[1]) for term in feature.terms] == [(0, 1.0), (1, -1.0)]
    assert Features(RIDGE)({"rate": SPACE["rate"]}) == ()
