"""The belief: a BoTorch Gaussian process over the unit cube; torch inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
import math
from typing import cast

from botorch.models import SingleTaskGP
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from optuna_partition._gp.acquisition import promising
from optuna_partition._gp.computing import computing
from optuna_partition._gp.exact import Exact
from optuna_partition._gp.exact import Improvement
from optuna_partition._gp.fit import climb
from optuna_partition._gp.fit import climb_as_published
from optuna_partition._gp.fit import cost
from optuna_partition._gp.fit import load
from optuna_partition._gp.fit import theta_of
from optuna_partition._gp.knowledge import worth_repeating
from optuna_partition._gp.noise import quieten
from optuna_partition._gp.noise import roughen
from optuna_partition._gp.sources import Expectations
from optuna_partition._gp.sources import Expert
from optuna_partition._gp.sources import Surprise
from optuna_partition._gp.structure import published
from optuna_partition._gp.structure import warped
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import Box
from optuna_partition._rules.belief import CandidatesFunc
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import MOST_VALUES
from optuna_partition._rules.belief import ranking
from optuna_partition._rules.belief import Theta
from optuna_partition._rules.belief import thinned
from optuna_partition._rules.belief import winsorised
from optuna_partition._rules.evidence import for_candidates_func
from optuna_partition._rules.source import Earlier
from optuna_partition._rules.source import Prior
from optuna_partition._rules.source import Source


__all__ = ["Fitted", "GaussianProcess"]

_FIRST_STEPS, _LATER_STEPS = 150, 60  # of the fit; a later one starts where the last ended
_LEAST_SPREAD = 0.1  # in deviations of an earlier study: what differs less says nothing
_LEAST_SURPRISE = 1.0  # a vague prior expects little, and is not to be made more of
_DOUBT, _DOUBT_OF_PRIORS = 0.8, 0.4  # how far this study agrees with an earlier one, or a prior
_LITTLE_GAIN = 5.0  # nats: a function that gains less may be noise
_MOST_FITTED = 128  # values hyperparameters are fitted to; the model then sees them all


@dataclass(frozen=True)
class GaussianProcess:
    """See `Belief`.

    Targets are winsorised and standardised. The model is BoTorch's `SingleTaskGP`: with its own
    kernel as published (`MixedSingleTaskGP` where there are categories), otherwise with
    `ProductAndSum` on inputs warped by Kumaraswamy's distribution (Snoek et al. 2014).

    Args:
        domain: The axes.
        as_published: Whether the model is BoTorch's default.
        device: Where tensors live.
        candidates_func: What chooses points instead of the expected improvement.
        seed: Varies where it looks for promising points.
        squash: What is done to values before they are standardised.
    """

    domain: Domain
    as_published: bool = False
    device: str = "cpu"
    candidates_func: CandidatesFunc | None = None
    seed: int = 0
    squash: Callable[[Array], Array] = winsorised

    def fit(self, evidence: Evidence, theta: Theta | None) -> Fitted:
        """Fits once, and again from a large noise where the first fit explains little.

        A rough function explains pure noise as well as noise does, and a climb finds one of the
        two. The likelier is kept.
        """
        with computing(self.device):
            model = self._climbed(evidence, theta)
        fitted = self.condition(evidence, theta_of(model))
        if self.as_published or evidence.is_noiseless or fitted.gain > _LITTLE_GAIN:
            return fitted
        with computing(self.device):
            other = self._climbed(evidence, None, is_noisy=True)
            noise_is_likelier = cost(other) < cost(model)
        return self.condition(evidence, theta_of(other)) if noise_is_likelier else fitted

    def _climbed(
        self, evidence: Evidence, theta: Theta | None, is_noisy: bool = False
    ) -> SingleTaskGP:
        """The model of at most `_MOST_FITTED` values, at a top of its hyperparameters."""
        kept = thinned(evidence.ranking, _MOST_FITTED)
        model = self._model_of_rows(evidence, _Targets.of(evidence, self.squash), kept)
        if theta is not None:
            load(model, theta)
        if is_noisy:
            roughen(model)
        if evidence.is_noiseless and not self.as_published:
            quieten(model)
        steps = _FIRST_STEPS if theta is None else _LATER_STEPS
        (climb_as_published if self.as_published else climb)(model, steps)
        return model

    def condition(self, evidence: Evidence, theta: Theta) -> Fitted:
        with computing(self.device):
            targets = _Targets.of(evidence, self.squash)
            model = self._model_of_rows(evidence, targets, np.arange(len(evidence.y)))
            load(model, theta)
            return self._fitted(model, evidence, targets)

    def _model_of_rows(
        self, evidence: Evidence, targets: _Targets, rows: NDArray[np.intp]
    ) -> SingleTaskGP:
        own = None if targets.noise is None else self.tensor(targets.noise.diagonal()[rows])
        x = self.tensor(evidence.x[rows])
        return self._model(x, self.tensor(targets.y[rows]), own, self._expectations(evidence))

    def _expectations(self, evidence: Evidence) -> Expectations | None:
        """What earlier studies expect, in the scale of what this one has evaluated."""
        if not evidence.sources:
            return None
        found = (_expert(self, source) for source in evidence.sources)
        experts = tuple(expert for expert in found if expert is not None)
        return Expectations.of(experts, self.tensor(evidence.x)) if experts else None

    def _fitted(self, model: SingleTaskGP, evidence: Evidence, targets: _Targets) -> Fitted:
        """The posterior; points in flight count as if the model's mean had been observed there.

        That leaves the mean as it is and takes the doubt away (Desautels et al. 2014): the next
        worker looks elsewhere, and nobody has to invent a value.
        """
        model.eval()
        theta = theta_of(model)
        noise = None if targets.noise is None else self.tensor(targets.noise)
        if len(evidence.pending):
            pending = self.tensor(evidence.pending)
            with torch.no_grad():
                mean, _ = Exact.of(model, noise).moments(pending)
            x = torch.cat([self.tensor(evidence.x), pending])
            if noise is not None:
                noise = torch.nn.functional.pad(noise, (0, len(pending), 0, len(pending)))
            own = None if noise is None else noise.diagonal()
            y = torch.cat([self.tensor(targets.y), mean])
            model = self._model(x, y, own, self._expectations(evidence))
            load(model, theta)
            model.eval()
        return Fitted(self, Exact.of(model, noise), theta, evidence, targets)

    def tensor(self, array: Array) -> Tensor:
        return torch.as_tensor(array, dtype=torch.double, device=self.device)

    @property
    def n_parameters(self) -> int:
        """How many hyperparameters there are."""
        with computing(self.device):
            domain = replace(self.domain, steps=(None,) * len(self.domain.steps))
            return _n_parameters(domain, self.as_published)

    def _model(
        self,
        x: Tensor,
        y: Tensor,
        noise: Tensor | None = None,
        expectations: Expectations | None = None,
    ) -> SingleTaskGP:
        """The model of values, with the variance that each has beside the noise of all."""
        if self.as_published:
            return cast(SingleTaskGP, published(self.domain, x, y.unsqueeze(-1)).to(x))
        model = warped(self.domain, x, y.unsqueeze(-1), noise, expectations)
        return cast(SingleTaskGP, model.to(x))


@lru_cache(maxsize=256)
def _n_parameters(domain: Domain, as_published: bool) -> int:
    process = GaussianProcess(domain, as_published)
    x = process.tensor(np.full((1, len(domain.steps)), 0.5))
    return sum(p.numel() for p in process._model(x, x[:, 0]).parameters())


def _expert(process: GaussianProcess, source: Source) -> Expert | None:
    """What a source expects, (k, D) -> (k,); None where there can be no model of it."""
    if isinstance(source, Prior):
        return Expert(Surprise.of(source, process.device), _LEAST_SURPRISE, _DOUBT_OF_PRIORS)
    assert isinstance(source, Earlier)
    return _expert_of(source, process.domain.categorical, process.device)


@lru_cache(maxsize=256)
def _expert_of(source: Earlier, categorical: tuple[int, ...], device: str) -> Expert | None:
    process = GaussianProcess(Domain((None,) * len(source.x[0]), categorical), device=device)
    x, y = np.array(source.x), np.array(source.y)
    kept = thinned(ranking(y), MOST_VALUES)
    x, y = x[kept], y[kept]
    low, high = np.minimum(x.min(0), 0.0), np.maximum(x.max(0), 1.0)  # a cube that has them all
    x = (x - low) / (high - low)
    try:
        fitted = process.fit(Evidence(x, y, x[:0], len(y)), None)
    except BeliefFailed:
        return None
    start, size = process.tensor(low), process.tensor(high - low)

    def expects(at: Tensor) -> Tensor:
        mean, _ = fitted.exact.moments((at - start) / size)
        return mean

    return Expert(expects, _LEAST_SPREAD, _DOUBT)


@dataclass(frozen=True)
class _Targets:
    """Values as the model sees them: mean 0, deviation 1, nothing far above.

    Args:
        y: The values, (n,).
        offset: What was taken away from them.
        scale: What they were divided by afterwards.
        noise: Covariances of the errors of forecasts in these units, (n, n); None without any.
    """

    y: Array
    offset: float
    scale: float
    noise: Array | None

    @classmethod
    def of(cls, evidence: Evidence, squash: Callable[[Array], Array]) -> _Targets:
        """Squashed and standardised; what is forecast comes drawn in, with its errors."""
        targets, early = cls._standardised(squash(evidence.y)), evidence.early
        if early is None:
            return targets
        errors = early.errors / targets.scale
        return replace(targets, noise=early.correlation * errors * errors[:, None])

    @classmethod
    def _standardised(cls, y: Array) -> _Targets:
        offset = float(y.mean())
        unit = 2.0 ** math.frexp(np.abs(y - offset).max())[1]  # squares of 1e-200 would be 0
        scale = unit * float((y / unit).std(ddof=1)) or 1.0
        return cls((y - offset) / scale, offset, scale, None)


@dataclass(frozen=True)
class Fitted:
    """See `Posterior`."""

    process: GaussianProcess
    exact: Exact
    theta: Theta
    evidence: Evidence
    targets: _Targets

    @property
    def gain(self) -> float:
        """Logarithm of how much likelier the model makes the values than noise alone would.

        What is in flight has no value, whatever the model assumes there.
        """
        evidence, y = self.evidence, self.targets.y
        if len(evidence.pending):
            observed = replace(evidence, pending=evidence.pending[:0])
            return self.process.condition(observed, self.theta).gain
        chance = -0.5 * (float(y @ y) + len(y) * math.log(2 * math.pi))
        return self.exact.log_likelihood() - chance

    def bounds(self, x: Array) -> tuple[Array, Array]:
        with computing(self.process.device), torch.no_grad():
            mean, variance = self.exact.moments(self.process.tensor(x))
        deviation = variance.clamp_min(0).sqrt().cpu().numpy()
        targets = self.targets
        return targets.offset + targets.scale * mean.cpu().numpy(), targets.scale * deviation

    @property
    def zero(self) -> float:
        """What 0 is in the model's units, if `squash` keeps it."""
        return -self.targets.offset / self.targets.scale

    @property
    def best(self) -> float | None:
        """The least value measured, in the model's units; None where nothing is feasible."""
        evidence = self.evidence
        feasible = self.targets.y[evidence.feasible & evidence.measured]
        return float(feasible.min()) if len(feasible) else None

    def promising(self, box: Box, feasibility: Callable[[Tensor], Tensor] | None = None) -> Array:
        """See `Posterior`; with a feasibility also what meets constraints."""
        if self.process.candidates_func is not None:
            return self._candidates(self.process.candidates_func, box)
        with computing(self.process.device):
            best = self.best
            if best is None and feasibility is None:  # too few have a constraint for a model of it
                best = float(self.targets.y[self.evidence.measured].min())
            improvement = Improvement(self.exact, best, feasibility)
            process = self.process
            return promising(improvement, process.domain, self.evidence, box, process.seed)

    def worth_repeating(
        self,
        new: Array,
        feasibility: Callable[[Tensor], Tensor] | None = None,
        *,
        stopped_only: bool,
    ) -> Array | None:
        """See `Posterior`; with a feasibility by how likely a point meets constraints, too."""
        early = self.evidence.early
        if self.best is None or (stopped_only and early is None):
            return None
        with computing(self.process.device):
            return worth_repeating(
                self.exact, self.evidence, new, feasibility, stopped_only=stopped_only
            )

    def _candidates(self, choose: CandidatesFunc, box: Box) -> Array:
        """A user's choice, called as `optuna_integration.BoTorchSampler` calls it: maximising.

        Its errors are the user's to see.
        """
        tensor = self.process.tensor
        pending = tensor(self.evidence.pending) if len(self.evidence.pending) else None
        known, y, constraints = for_candidates_func(self.evidence, self.targets.y)
        bounds = torch.stack([tensor(end) for end in box])
        con = None if constraints is None else tensor(constraints)
        found = choose(tensor(known), -tensor(y).unsqueeze(-1), con, bounds, pending)
        is_tensor = isinstance(found, Tensor)
        x: Array = np.atleast_2d(found.detach().cpu().numpy() if is_tensor else np.empty(0))
        if x.ndim != 2 or x.shape[1] != len(box[0]) or not np.isfinite(x).all():
            raise ValueError(
                f"`candidates_func` must return a tensor of {len(box[0])} finite coordinates, or "
                f"rows of them, but got ({found}); return what BoTorch's `optimize_acqf` does, "
                "the first of its results."
            )
        low, high = box
        return x.clip(low, high)
