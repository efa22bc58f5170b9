"""The noise of values: what of it a fit learns, and what forecasts bring; torch inside."""

from __future__ import annotations

from typing import Any

from botorch.models import SingleTaskGP
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.likelihoods import GaussianLikelihood
from torch import Tensor

from optuna_partition._gp.kernel import above
from optuna_partition._gp.kernel import float64
from optuna_partition._gp.kernel import log_normal


__all__ = ["likelihood_of", "quieten", "roughen"]

_LEAST_NOISE = 1e-6  # variance; BoTorch's 1e-4 keeps a smooth function from its last digits
_FIRST_NOISE = 1e-2  # from less, a fit takes noise for the function
_MUCH_NOISE = 0.5  # half of what there is to explain
_MOST_UNSEEN = 1e-4  # where a repeat shows none; a training of one seed is still a bit rough
_NOISE_PRIOR = log_normal(2.0, 3.0)  # its logarithm 3 about -7 where a fit maximises


def likelihood_of(own: Tensor | None) -> GaussianLikelihood | FixedNoiseGaussianLikelihood:
    """Noise that is learnt, and what each value has beside it; both have the same parameter."""
    prior = {
        "noise_prior": _NOISE_PRIOR,
        "noise_constraint": above(_LEAST_NOISE, _FIRST_NOISE),
    }
    if own is None:
        likelihood = GaussianLikelihood(**prior).double()
        likelihood.noise = float64(_FIRST_NOISE)
        return likelihood
    own = own.clamp_min(_LEAST_NOISE)
    both = FixedNoiseGaussianLikelihood(own, learn_additional_noise=True, **prior).double()
    both.second_noise = float64(_FIRST_NOISE)
    return both


def roughen(model: SingleTaskGP) -> None:
    """Begins with as much noise as function."""
    of_all = _of_all(model)
    of_all.initialize(noise=of_all.noise.detach().new_full((), _MUCH_NOISE))


def quieten(model: SingleTaskGP) -> None:
    """Bounds the noise: a fit takes many narrow valleys for it."""
    of_all = _of_all(model)
    constraint = of_all.raw_noise_constraint
    constraint.upper_bound = constraint.lower_bound.new_tensor(_MOST_UNSEEN)
    of_all.initialize(noise=of_all.noise.detach().clamp_max(_MOST_UNSEEN))


def _of_all(model: SingleTaskGP) -> Any:
    """The noise that all values have."""
    likelihood = model.likelihood
    return getattr(likelihood, "second_noise_covar", likelihood.noise_covar)
