"""Whether to evaluate a point once more: the knowledge gradient; torch inside.

Notation (Frazier, Powell and Dayanik 2009; Scott, Frazier and Powell 2011, of a few points):

==========  =====================================================================================
``A``       the points that may be answered: evaluated ones with the least mean less deviation
``m, S``    means and covariances of the function at these and at a new point
``v``       variance of the noise
``b(x)``    S(., x) / sqrt(S(x, x) + v): how the means move with an evaluation of x, per deviation
``KG(x)``   min over A of m, less the expectation of the min of m + b(x) Z, Z standard normal
==========  =====================================================================================

An evaluation of a new point puts it into A, too. Without noise KG is then the expected improvement
of a new point, and nothing of an old one: to choose the greater is to repeat only under noise.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch

from optuna_partition._gp.exact import Exact
from optuna_partition._rules.belief import Array


__all__ = ["worth_repeating"]

_MOST_ANSWERS = 10
_LEAST_GAIN = 1e-3  # in deviations of all values; below it, nobody would notice
_QUANTILES = 256
_Z = np.array([NormalDist().inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])


def worth_repeating(exact: Exact, known: Array, new: Array) -> Array | None:
    """The evaluated point whose repeat is worth more than an evaluation of a new one.

    Args:
        exact: The model.
        known: Where trials have ended, (n, D).
        new: The most promising point, (D,).

    Returns:
        The point, (D,); None where the new one is worth as much.
    """
    with torch.no_grad():
        answers = _answers(exact, known)
        means, covariances = exact.joint(exact.tensor(np.concatenate([answers, new[None]])))
        noise = float(exact.model.likelihood.noise)
    gains = _gains(means.cpu().numpy(), covariances.cpu().numpy(), noise)
    best = int(np.argmax(gains[:-1]))
    return answers[best] if gains[best] > max(gains[-1], _LEAST_GAIN) else None


def _answers(exact: Exact, known: Array) -> Array:
    """A, (k, D)."""
    known = np.unique(known, axis=0)
    means, variances = exact.moments(exact.tensor(known))
    lowest = means - variances.clamp_min(0).sqrt()
    return known[np.argsort(lowest.cpu().numpy(), kind="stable")[:_MOST_ANSWERS]]


def _gains(means: Array, covariances: Array, noise: float) -> Array:
    """KG of each point, (k + 1,); the last is the new one."""
    deviations = np.sqrt(np.diag(covariances).clip(0) + noise)
    slopes = covariances / deviations  # b(x) is column x
    lines = means[:, None, None] + slopes[:, :, None] * _Z  # (of, by an evaluation at, Z)
    least = np.minimum.reduce(lines[:-1])
    least[-1] = np.minimum(least[-1], lines[-1, -1])
    gains: Array = means[:-1].min() - least.mean(axis=-1)
    return gains
