"""The knowledge gradient against its definition, and against what it is without noise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from optuna_partition._core.axes import Continuous
from optuna_partition._gp.knowledge import _gains
from optuna_partition._gp.knowledge import worth_repeating
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Early
from optuna_partition._rules.belief import Evidence


NORMAL = NormalDist()
MEANS = np.array([0.0, 0.1, 0.3, -0.2])  # the last is a new point's
ROOT = np.array(
    [[0.3, 0.0, 0.0, 0.0], [0.2, 0.2, 0.0, 0.0], [0.0, 0.1, 0.4, 0.0], [0.1, 0.0, 0.2, 0.5]]
)
COVARIANCES = ROOT @ ROOT.T


def improvement(mean: float, deviation: float, best: float) -> float:
    """Expected improvement in closed form."""
    z = (best - mean) / deviation
    return (best - mean) * NORMAL.cdf(z) + deviation * NORMAL.pdf(z)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_it_is_what_the_least_mean_is_expected_to_lose(noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = MEANS + rng.standard_normal((400_000, 4)) @ ROOT.T
    for j in range(4):
        told = truth[:, j] + math.sqrt(noise) * rng.standard_normal(len(truth))
        slopes = COVARIANCES[:, j] / (COVARIANCES[j, j] + noise)
        after = MEANS + (told - MEANS[j])[:, None] * slopes
        known = after if j == 3 else after[:, :3]
        expected = MEANS[:3].min() - known.min(axis=1).mean()
        assert _gains(MEANS, COVARIANCES, noise, 3)[j] == pytest.approx(expected, abs=3e-3)


def test_without_noise_it_is_the_improvement_of_a_new_point_and_nothing_of_an_old() -> None:
    covariances = np.diag([0.0, 0.0, 0.0, 0.25])
    gains = _gains(MEANS, covariances, 1e-12, 3)
    assert gains[:3] == pytest.approx([0, 0, 0], abs=1e-9)
    assert gains[3] == pytest.approx(improvement(-0.2, 0.5, 0.0), rel=1e-2)


def test_a_noisy_leader_is_worth_a_repeat_and_an_exact_one_is_not() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((40, 2))
    domain = Domain.of((Continuous(20), Continuous(20)))
    bowl = ((x - 0.5) ** 2).sum(axis=1)

    def repeated(y: np.ndarray) -> np.ndarray | None:
        evidence = Evidence(x, y, x[:0], 40)
        fitted = GaussianProcess(domain).fit(evidence, None)
        corner = np.array([0.99, 0.99])  # where nothing is to be gained
        return worth_repeating(fitted.exact, evidence, corner, stopped_only=False)

    found = repeated(bowl + 0.1 * rng.standard_normal(40))
    assert found is not None and ((found - 0.5) ** 2).sum() < 0.15
    assert repeated(bowl) is None


def test_a_stopped_point_is_as_good_as_new_and_cheaper() -> None:
    x = np.random.default_rng(2).random((10, 2))
    y = ((x - 0.5) ** 2).sum(axis=1)
    stopped = int(y.argmin())
    domain = Domain.of((Continuous(20), Continuous(20)))
    is_stopped = np.arange(10) == stopped

    def taken_up(left: float) -> np.ndarray | None:
        rest = np.ones(10)
        rest[stopped] = left
        early = Early(0.1 * is_stopped, np.diag(1.0 * is_stopped), rest)
        evidence = Evidence(x, y, x[:0], 10, early=early)
        fitted = GaussianProcess(domain).fit(evidence, None)
        known = x[y.argsort()[1]]  # a new point where all is known
        return worth_repeating(fitted.exact, evidence, known, stopped_only=True)

    assert taken_up(0.5) == pytest.approx(x[stopped])
    assert taken_up(np.inf) is None  # somebody is at it


def test_each_gain_is_against_the_measured_points_only() -> None:
    gains = _gains(MEANS, COVARIANCES, 0.05, 2)
    rng = np.random.default_rng(0)
    truth = MEANS + rng.standard_normal((400_000, 4)) @ ROOT.T
    told = truth[:, 2] + math.sqrt(0.05) * rng.standard_normal(len(truth))
    after = MEANS + (told - MEANS[2])[:, None] * COVARIANCES[:, 2] / (COVARIANCES[2, 2] + 0.05)
    expected = MEANS[:2].min() - after[:, :3].min(axis=1).mean()
    assert gains[2] == pytest.approx(expected, abs=3e-3)
