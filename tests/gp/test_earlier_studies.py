"""The prior of earlier studies against a regression with normal coefficients, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from optuna_partition._gp.process import _DOUBT
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._gp.sources import AGREEMENT
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.source import Earlier
from optuna_partition._rules.source import starts


def source(slope: float) -> Earlier:
    x = [(i / 9, (7 * i % 10) / 9) for i in range(10)]
    return Earlier(tuple(x), tuple(slope * (a - 0.3) ** 2 + b for a, b in x))


SOURCES = (source(4.0), source(-2.0))
X = np.array([[0.1, 0.2], [0.5, 0.9], [0.8, 0.4], [0.3, 0.6]])
Y = np.array([1.0, 3.0, 2.0, 1.5])
AT = np.array([[0.2, 0.1], [0.9, 0.9], [0.45, 0.5]])


def test_the_posterior_is_that_of_coefficients_that_are_integrated_out() -> None:
    process = GaussianProcess(Domain((None, None), ()))
    evidence = Evidence(X, Y, X[:0], len(Y), sources=SOURCES)
    fitted = process.fit(evidence, None)
    model = fitted.exact.model
    both = torch.tensor(np.concatenate([X, AT]))
    with torch.no_grad():
        seen = model.transform_inputs(both)  # warped, with g behind
        own = model.covar_module.kernel.forward(seen[:, :-2], seen[:, :-2]).numpy()
        constant = float(model.mean_module.mean.constant)
    g, n = seen[:, -2:].numpy(), len(X)
    assert g[:n].mean(0) == pytest.approx([0, 0], abs=1e-12)
    assert g[:n].std(0, ddof=1) == pytest.approx([1, 1])
    # weight space: each r_s is AGREEMENT plus a normal number of variance S u^2
    mean = constant + g @ np.full(2, AGREEMENT) / 2
    spread = g / 2 * math.sqrt(2) * _DOUBT
    covariance = own + spread @ spread.T
    y = (Y - Y.mean()) / Y.std(ddof=1)
    known = covariance[:n, :n] + fitted.exact.noise * np.eye(n)
    gain = np.linalg.solve(known, covariance[:n, n:]).T
    expected = mean[n:] + gain @ (y - mean[:n])
    variance = np.diag(covariance)[n:] - np.einsum("ij,ji->i", gain, covariance[:n, n:])
    found, deviation = fitted.bounds(AT)
    assert found == pytest.approx(Y.mean() + Y.std(ddof=1) * expected, rel=1e-8)
    assert deviation == pytest.approx(Y.std(ddof=1) * np.sqrt(variance), rel=1e-6)


def test_where_this_study_says_otherwise_the_earlier_one_is_left() -> None:
    """Its values fall where the earlier study's rise: the model has the sign of the values."""
    process = GaussianProcess(Domain((None, None), ()))
    x = np.array([[i / 7, (3 * i % 8) / 7] for i in range(8)])
    upside_down = Evidence(
        x, -(4.0 * (x[:, 0] - 0.3) ** 2 + x[:, 1]), x[:0], 8, sources=SOURCES[:1]
    )
    low, high = process.fit(upside_down, None).bounds(np.array([[0.3, 0.0], [0.95, 0.95]]))[0]
    assert low > high


def test_a_search_starts_at_the_best_points_and_not_twice_at_one() -> None:
    near = Earlier(((0.5, 0.5), (0.52, 0.5), (0.9, 0.9)), (1.0, 1.1, 2.0))
    outside = Earlier(((1.4, 0.2), (0.1, 0.1), (0.2, 0.2)), (0.0, 1.0, 2.0))
    assert starts([near], 2).tolist() == [[0.5, 0.5], [0.9, 0.9]]
    assert starts([outside], 1).tolist() == [[1.0, 0.2]]
    assert len(starts([near], 9)) == 2


def test_it_starts_where_earlier_studies_agree() -> None:
    """What two of three find good comes before what one finds best and two find bad."""
    x = ((0.1, 0.1), (0.5, 0.5), (0.9, 0.9))
    studies = [Earlier(x, y) for y in ((0.0, 1.0, 9.0), (9.0, 1.0, 0.0), (9.0, 0.0, 1.0))]
    assert starts(studies, 3).tolist() == [[0.5, 0.5], [0.9, 0.9], [0.1, 0.1]]
