"""Whether to evaluate a point once more: the knowledge gradient; torch inside.

Notation (Frazier, Powell and Dayanik 2009; Scott, Frazier and Powell 2011, of a few points):

==========  =====================================================================================
``A``       the points that may be answered: those measured, with the least mean less deviation
``m, S``    means and covariances of the function at these, at stopped ones and at a new point
``v``       variance of the noise
``b(x)``    S(., x) / sqrt(S(x, x) + v): how the means move with an evaluation of x, per deviation
``KG(x)``   min over A of m, less the expectation of the min over A and x of m + b(x) Z, where Z
            is standard normal
==========  =====================================================================================

Without noise KG is the expected improvement of a new point, and nothing of a measured one: to
choose the greater is to repeat only under noise. A point whose evaluation was stopped is as good
as new, and cheaper: its gain is divided by the share of an evaluation that is left (improvement
per cost: Snoek, Larochelle and Adams 2012, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from optuna_partition._gp.exact import Exact
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Evidence


__all__ = ["worth_repeating"]

_MOST_ANSWERS = 10
_LEAST_GAIN = 1e-3  # in deviations of all values; below it, nobody would notice
_QUANTILES = 256
_Z = np.array([NormalDist().inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])


def worth_repeating(
    exact: Exact,
    evidence: Evidence,
    new: Array,
    feasibility: Callable[[Tensor], Tensor] | None = None,
    *,
    stopped_only: bool,
) -> Array | None:
    """The evaluated point whose repeat is worth more than an evaluation of a new one.

    Args:
        exact: The model.
        evidence: What it has seen.
        new: The most promising point, (D,).
        feasibility: Points (k, D) -> the logarithm of how likely they meet constraints, (k,). A
            gain counts by that, where a point has not shown it.
        stopped_only: Whether only points may be taken up whose evaluation was stopped.

    Returns:
        The point, (D,); None where the new one is worth as much.
    """
    with torch.no_grad():
        answers = _answers(exact, evidence)
        stopped, rest = _stopped(exact, evidence)
        x = np.concatenate([answers, stopped, new[None]])
        means, covariances = exact.joint(exact.tensor(x))
        met = np.ones(len(x))
        if feasibility is not None:
            likely = feasibility(exact.tensor(x[len(answers) :]))
            met[len(answers) :] = likely.exp().cpu().numpy()
    gains = _gains(means.cpu().numpy(), covariances.cpu().numpy(), exact.noise, len(answers))
    worth = met * gains / np.concatenate([np.ones(len(answers)), rest, [1.0]])
    is_answer = np.arange(len(worth) - 1) < len(answers)
    least = np.where(is_answer, math.inf if stopped_only else _LEAST_GAIN, 0.0)
    old = np.where(worth[:-1] > np.maximum(least, worth[-1]), worth[:-1], 0.0)
    return x[old.argmax()] if old.any() else None


def _answers(exact: Exact, evidence: Evidence) -> Array:
    """A, (k, D)."""
    known = np.unique(evidence.x[evidence.feasible & evidence.measured], axis=0)
    return known[_least(exact, known)]


def _stopped(exact: Exact, evidence: Evidence) -> tuple[Array, Array]:
    """Where an evaluation was stopped, (s, D), and the share of it that is left, (s,)."""
    early = evidence.early
    if early is None:
        return evidence.x[:0], np.ones(0)
    rows = np.flatnonzero(evidence.feasible & ~evidence.measured & np.isfinite(early.rest))
    rows = rows[_least(exact, evidence.x[rows])] if len(rows) else rows
    return evidence.x[rows], early.rest[rows]


def _least(exact: Exact, x: Array) -> NDArray[np.intp]:
    """Of some points those that may be best, by the least mean less deviation."""
    means, variances = exact.moments(exact.tensor(x))
    lowest = means - variances.clamp_min(0).sqrt()
    return np.argsort(lowest.cpu().numpy(), kind="stable")[:_MOST_ANSWERS]


def _gains(means: Array, covariances: Array, noise: float, n_answers: int) -> Array:
    """KG of each point, (k,); the first are those of A."""
    deviations = np.sqrt(np.diag(covariances).clip(0) + noise)
    slopes = covariances / deviations  # b(x) is column x
    lines = means[:, None, None] + slopes[:, :, None] * _Z  # (of, by an evaluation at, Z)
    own = np.einsum("iiz->iz", lines)
    least = np.minimum(np.minimum.reduce(lines[:n_answers]), own)
    gains: Array = means[:n_answers].min() - least.mean(axis=-1)
    return gains
