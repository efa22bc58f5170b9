"""Which model is believed in, and what it says; imports torch when asked, or for a device."""

from __future__ import annotations

from dataclasses import dataclass

from optuna_partition._core.axes import Axis
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Belief
from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._rules.belief import CandidatesFunc
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.source import Feature


__all__ = ["Models", "moments"]

_LEAST_GAIN = 3.0
"""A function too rough for its points looks like noise, and its best value is no luck."""
_NO_NOISE = 1e-5
"""Variance, in the model's units: hardly more than the least that it can fit."""


@dataclass(frozen=True)
class Models:
    """The Gaussian process over the axes of a space.

    Args:
        as_published: Whether it is BoTorch's own model rather than the one made for this search.
        device: Where it is computed.
        candidates_func: What chooses points instead of the expected improvement.
        seed: Varies where it looks for promising points.

    Raises:
        ValueError: Torch has no such device.
    """

    as_published: bool = False
    device: str = "cpu"
    candidates_func: CandidatesFunc | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.device == "cpu":
            return
        import torch

        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # the second without CUDA
            why = str(error).splitlines()[0].partition(". ")[0].rstrip(".")
            raise ValueError(
                f"`device` must be one that torch has here, but got (device={self.device!r}): "
                f"{why}; 'cpu' is always there."
            ) from None

    def __call__(self, axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Belief:
        from optuna_partition._gp.constrained import Constrained
        from optuna_partition._gp.process import GaussianProcess

        domain = Domain.of(axes, features)
        return Constrained(
            GaussianProcess(
                domain, self.as_published, self.device, self.candidates_func, self.seed
            )
        )


def moments(
    axes: tuple[Axis, ...], evidence: Evidence, x: Array
) -> tuple[Array, Array, bool] | None:
    """Mean and standard deviation of the function at points, (k,) each; whether there is noise.

    None where no model can be fitted, and where it explains no more than chance would.

    Args:
        axes: Of the space.
        evidence: What was observed.
        x: The points, (k, D).
    """
    from optuna_partition._gp.process import GaussianProcess

    try:
        fitted = GaussianProcess(Domain.of(axes)).fit(evidence, None)
        if fitted.gain < _LEAST_GAIN:
            return None
        return *fitted.bounds(x), fitted.exact.noise > _NO_NOISE
    except BeliefFailed:
        return None
