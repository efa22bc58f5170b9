"""optuna_partition._gp.fit: the posterior is GPyTorch's, and a climb ends at its top."""

from __future__ import annotations

from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
import numpy as np
import pytest
import torch

from optuna_partition._gp.fit import climb
from optuna_partition._gp.fit import cost
from optuna_partition._gp.fit import load
from optuna_partition._gp.fit import theta_of
from optuna_partition._gp.kernel import log_normal
from optuna_partition._gp.structure import warped
from optuna_partition._rules.belief import Domain


N_AXES = 4
DRAW = np.random.default_rng(0)
X = DRAW.random((30, N_AXES))
Y = (X[:, 0] - 0.3) ** 2 + np.sin(5 * X[:, 1]) + 0.05 * DRAW.standard_normal(30)


def model(categorical: tuple[int, ...] = (), noise: torch.Tensor | None = None) -> SingleTaskGP:
    domain = Domain((None,) * N_AXES, categorical)
    y = torch.tensor((Y - Y.mean()) / Y.std()).unsqueeze(-1)
    return warped(domain, torch.tensor(X), y, noise, None).double()


def moved(found: SingleTaskGP, seed: int, by: float = 2) -> SingleTaskGP:
    """With hyperparameters up to a factor away."""
    factors = np.random.default_rng(seed).uniform(1 / by, by, len(theta_of(found)))
    load(found, tuple(np.array(theta_of(found)) * factors))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("categorical", [(), (3,), tuple(range(N_AXES))])
@pytest.mark.parametrize("has_own_noise", [False, True])
def test_the_cost_and_its_slope_are_gpytorch_s(
    seed: int, categorical: tuple[int, ...], has_own_noise: bool
) -> None:
    noise = torch.linspace(0.01, 0.2, len(X), dtype=torch.double) if has_own_noise else None
    found = moved(model(categorical, noise), seed)
    theirs = ExactMarginalLogLikelihood(found.likelihood, found)
    theirs.train()
    costs = -theirs(found(*found.train_inputs), found.train_targets), cost(found)
    slopes = [torch.autograd.grad(each, list(found.parameters())) for each in costs]
    torch.testing.assert_close(*costs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*slopes, rtol=1e-7, atol=1e-9)


def test_a_prior_is_gpytorch_s() -> None:
    x = torch.tensor([1e-6, 0.3, 1.0, 40.0], dtype=torch.double)
    theirs = LogNormalPrior(*torch.tensor([0.7, 1.3], dtype=torch.double))
    torch.testing.assert_close(log_normal(0.7, 1.3).log_prob(x), theirs.log_prob(x))


def test_a_climb_ends_at_a_top_however_sums_are_rounded() -> None:
    tops = []
    for seed in range(5):
        found = moved(model(), by=1 + 1e-9, seed=seed)
        climb(found, 150)
        tops.append(cost(found).item())
    assert max(tops) - min(tops) < 1e-6
    found = model()
    climb(found, 150)
    slopes = torch.autograd.grad(cost(found), list(found.parameters()))
    inside = [
        float((slope * parameter.detach()).abs().max())
        for slope, parameter in zip(slopes, found.parameters(), strict=True)
    ]
    assert max(inside) < 1e-3, "a step in a logarithm changes nothing"


def test_a_climb_stays_within_bounds() -> None:
    """Also one that begins outside, as what trials carry is rounded."""
    found = model()
    load(found, tuple(np.full(len(theta_of(found)), 1e-9)))
    climb(found, 40)
    for _, parameter, constraint in found.named_parameters_and_constraints():
        if constraint is not None:
            assert (parameter >= constraint.lower_bound * (1 - 1e-9)).all()
