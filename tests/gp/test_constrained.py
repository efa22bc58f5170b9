"""The models of constraints: BoTorch's acquisition, where 0 is, and fits that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
from typing import cast

from botorch.acquisition.analytic import LogConstrainedExpectedImprovement
from botorch.models import ModelListGP
import numpy as np
import pytest
import torch

from optuna_partition._core.axes import Continuous
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._gp.constrained import around_zero
from optuna_partition._gp.constrained import Constrained
from optuna_partition._gp.constrained import ConstrainedPosterior
from optuna_partition._gp.exact import Improvement
from optuna_partition._gp.process import GaussianProcess
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Belief
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import Fit
from optuna_partition._rules.belief import renewed
from optuna_partition._rules.evidence import evidence_of
from optuna_partition._rules.evidence import for_candidates_func
from optuna_partition._rules.evidence import Reports


AXES = (Continuous(30), Continuous(30))
PROCESS = GaussianProcess(Domain.of(AXES))
WHOLE = np.zeros(2), np.ones(2)


def places(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((n, 2))


def point(*units: float) -> Point:
    return tuple(a.centre(a.pin(float(u))) for a, u in zip(AXES, units, strict=True))


def grown(n: int, *, offset: float = 0.5, dies: float = -1.0) -> Tree:
    """A bowl around a corner that constraints keep away from; it fails at the left."""
    tree = Tree(AXES, lambda node: node.depth)
    for number, (u, v) in enumerate(places(n)):
        at = point(u, v)
        constraints = (("low", offset - u), ("steep", v - u - 0.4))
        value = float(u**2 + v**2)
        if u < dies:
            tree.observe(number, at, Reading.FAILED)
        elif max(x for _, x in constraints) > 0:
            tree.observe(number, at, Reading.INFEASIBLE, constraints, value)
        else:
            tree.observe(number, at, value, constraints)
    return tree


def weighed(evidence: Evidence) -> ConstrainedPosterior:
    return cast(ConstrainedPosterior, Constrained(PROCESS).fit(evidence, None))


def test_the_acquisition_is_botorch_s() -> None:
    """`LogConstrainedExpectedImprovement` on the same models, computed by GPyTorch."""
    found = weighed(evidence_of(grown(25)))
    models = [found.value, *found.constraints]
    theirs = LogConstrainedExpectedImprovement(
        ModelListGP(*(model.exact.model for model in models)),
        best_f=torch.tensor(found.value.best, dtype=torch.double),
        objective_index=0,
        constraints={i + 1: (None, model.zero) for i, model in enumerate(found.constraints)},
        maximize=False,
    )
    ours = Improvement(found.value.exact, found.value.best, found.feasibility)
    x = torch.tensor(places(200, seed=1)).unsqueeze(1)
    with torch.no_grad():
        expected, actual = theirs(x), ours(x)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert expected.max() - expected.min() > 5


def test_its_gradient_is_that_of_differences() -> None:
    found = weighed(evidence_of(grown(25)))
    ours = Improvement(found.value.exact, found.value.best, found.feasibility)
    x = torch.tensor(places(200, seed=2)).unsqueeze(1)
    # of the best: elsewhere it is -1e5, and its digits are those of a variance that cancels
    x = x[ours(x).topk(5).indices].requires_grad_(True)
    (gradient,) = torch.autograd.grad(ours(x).sum(), x)
    step = 1e-5
    for axis in range(2):
        moved = torch.zeros_like(x)
        moved[..., axis] = step
        with torch.no_grad():
            slope = (ours(x + moved) - ours(x - moved)) / (2 * step)
        torch.testing.assert_close(gradient[:, 0, axis], slope, atol=1e-3, rtol=1e-3)


def test_the_best_is_feasible_and_near_the_bound() -> None:
    found = weighed(evidence_of(grown(40)))
    x = found.promising(WHOLE)[0]
    assert 0.45 < x[0] < 0.6 and x[1] < 0.1, "the bowl's lowest feasible point is (0.5, 0)"


def test_while_nothing_is_feasible_it_looks_for_what_is() -> None:
    evidence = evidence_of(grown(12, offset=0.99))
    assert not evidence.feasible.any()
    found = weighed(evidence)
    x = found.promising(WHOLE)[0]
    assert x[0] > 0.9, "nearest to the bound on the first axis"
    mean, _ = found.bounds(np.array([[0.3, 0.5], [0.99, 0.5]]))
    assert mean[1] < mean[0], "a cell is worth what its centre is likely to be"


def test_what_is_likely_infeasible_has_the_worst_value() -> None:
    evidence = evidence_of(grown(40))
    mean, _ = weighed(evidence).bounds(np.array([[0.1, 0.1], [0.8, 0.3]]))
    assert mean[0] == max(evidence.y[evidence.feasible])
    assert mean[1] == pytest.approx(0.73, abs=0.05)


def test_where_trials_fail_is_one_more_constraint() -> None:
    evidence = evidence_of(grown(30, dies=0.3))
    n_failed = int((places(30)[:, 0] < 0.3).sum())
    *named, ending = evidence.constraints
    assert len(named) == 2 and len(ending.y) == 30 and (ending.y > 0).sum() == n_failed
    assert len(evidence.y) == 30 - n_failed and evidence.n_ended == 30
    fitted = weighed(evidence).constraints[-1]
    mean, _ = fitted.bounds(np.array([[0.1, 0.5], [0.8, 0.5]]))
    assert mean[0] > 0 > mean[1]


def test_a_function_with_a_model_of_its_own_is_told_of_constraints_and_failures() -> None:
    evidence = evidence_of(grown(30, dies=0.3))
    x, y, constraints = for_candidates_func(evidence, evidence.y)
    n = len(evidence.y)
    assert constraints is not None and constraints.shape == (30, 2) and len(x) == len(y) == 30
    np.testing.assert_allclose(constraints[:n, 0], 0.5 - x[:n, 0], atol=1e-6)
    assert np.isnan(constraints[n:]).all()
    assert (y[n:] == evidence.y.max()).all() and (x[n:, 0] < 0.3).all()


def test_no_constraint_is_no_other_model() -> None:
    tree = Tree(AXES, lambda node: node.depth)
    for number, (u, v) in enumerate(places(3)):
        tree.observe(number, point(u, v), float(number))
    evidence, plain = evidence_of(tree), Evidence.of(tree)
    assert evidence.constraints == () and evidence.distance is None
    assert all(np.array_equal(getattr(evidence, f), getattr(plain, f)) for f in ("x", "y"))
    assert Constrained(PROCESS).fit(evidence, None).theta == PROCESS.fit(plain, None).theta


def test_a_fit_of_other_models_is_made_anew() -> None:
    """Of an older version, or of a time when no trial had failed."""
    belief: Belief = Constrained(PROCESS)
    before = evidence_of(grown(10))
    posterior, fit = renewed(belief, before, Fit(0, ()))
    assert posterior is not None and len(fit.theta) == 3 * PROCESS.n_parameters
    kept, same = renewed(belief, before, fit)
    assert same is fit and kept is not None and kept.theta == fit.theta
    after = evidence_of(grown(11, dies=0.3))
    assert not fit.is_due(after.n_ended)
    _, anew = renewed(belief, after, fit)
    assert len(anew.theta) == 4 * PROCESS.n_parameters and max(fit, anew) is anew
    without = replace(after, constraints=())
    _, plain = renewed(belief, without, anew)
    assert len(plain.theta) == PROCESS.n_parameters


@pytest.mark.parametrize("y", [[0.0, -1.0], [-3.0, -3.0], [math.inf, -1.0, 2.0], [-1e300, 1e-3]])
def test_values_around_zero_stay_on_their_side(y: list[float]) -> None:
    shaped = around_zero(np.array(y))
    assert np.isfinite(shaped).all()
    assert (np.sign(shaped) == np.sign(y)).all()


@pytest.mark.parametrize("y", [[0.0, 0.0], [0.0, 2.0, math.inf], [1.0, 0.0, 1.0], [0.0, 1e-300]])
def test_what_says_nothing_below_0_is_met_where_it_is_0(y: list[float]) -> None:
    """max(excess, 0), or whether it was too much: the bound itself would be met by chance."""
    shaped = around_zero(np.array(y))
    assert np.isfinite(shaped).all()
    assert (np.sign(shaped) == np.where(np.array(y) == 0, -1, 1)).all()


@pytest.mark.parametrize("clip", [lambda x: max(x, 0.0), lambda x: float(x > 0)])
def test_a_constraint_may_only_say_what_is_violated(clip: Callable[[float], float]) -> None:
    tree = Tree(AXES, lambda node: node.depth)
    for number, (u, v) in enumerate(places(40)):
        told: float | Reading = Reading.INFEASIBLE if u < 0.5 else float(u**2 + v**2)
        tree.observe(number, point(u, v), told, (("low", clip(0.5 - u)),), float(u**2 + v**2))
    found = weighed(evidence_of(tree))
    inside = found.value.evidence.x[found.value.evidence.feasible]
    with torch.no_grad():
        likely = found.feasibility(torch.tensor(inside[inside[:, 0] > 0.6])).exp()
    assert likely.min() > 0.75
    x = found.promising(WHOLE)[0]
    assert 0.4 < x[0] < 0.65 and x[1] < 0.1


def test_what_was_stopped_is_taken_up_as_far_as_it_is_likely_feasible() -> None:
    """A trial that is stopped has not come to its constraint."""
    tree, reports = grown(40), {}
    for number, (u, v) in enumerate([(0.1, 0.1), (0.3, 0.02)], 40):
        tree.observe(number, point(u, v), 9.0, (), 9.0)
        reports[number] = Reports([1.0], [u**2 + v**2], None)
    for number, o in tree.said().items():
        if number < 40 and o.value is not None:
            reports[number] = Reports([1.0, 2.0], [o.value, o.value], o.value)
    found = weighed(evidence_of(tree, reports))
    new = np.array([0.5, 0.0])
    assert found.value.worth_repeating(new, stopped_only=True) is not None
    assert found.worth_repeating(new, stopped_only=True) is None


def test_while_nothing_is_feasible_the_values_say_nothing() -> None:
    tree = Tree(AXES, lambda node: node.depth)
    for number, (u, v) in enumerate(places(12)):
        value = 6000 * float(u**2 + v**2)
        tree.observe(number, point(u, v), Reading.INFEASIBLE, (("low", 0.99 - u),), value)
    reports = {
        n: Reports([1.0, 2.0], [9e3, o.value], o.value) for n, o in tree.said().items() if o.value
    }
    tree.observe(12, point(0.3, 0.3), Reading.FLYING)  # a forecast is not feasible yet
    reports[12] = Reports([1.0], [9e3], None)
    for evidence in (evidence_of(tree), evidence_of(tree, reports)):
        _, deviation = weighed(evidence).bounds(places(5, seed=1))
        assert (deviation == 0).all()


def test_one_infeasible_trial_and_others_that_run_are_enough_for_a_model() -> None:
    tree = Tree(AXES, lambda node: node.depth)
    tree.observe(0, point(0.2, 0.2), Reading.INFEASIBLE, (("low", 0.5),), 0.3)
    reports = {0: Reports([1.0, 2.0], [0.5, 0.3], 0.3)}
    for number, (u, v) in enumerate(places(4), 1):
        tree.observe(number, point(u, v), Reading.FLYING)
        reports[number] = Reports([1.0], [float(u**2 + v**2)], None)
    evidence = evidence_of(tree, reports)
    assert evidence.constraints == () and len(evidence.y) == 5
    posterior = Constrained(PROCESS).fit(evidence, None)
    assert np.isfinite(posterior.promising(WHOLE)).all()


def test_a_constraint_that_never_varies_has_a_model() -> None:
    tree = grown(6)
    for number, (u, v) in enumerate(places(6, seed=3), 6):
        tree.observe(number, point(u, v), 1.0, (("always", -1.0),))
    found = weighed(evidence_of(tree))
    assert len(found.constraints) == 3 and np.isfinite(found.promising(WHOLE)).all()
