"""What `prior` of a sampler holds: where somebody expects the best; reads no study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Any
from typing import final
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._known.checks import check_names
from optuna_partition._known.checks import check_table
from optuna_partition._known.checks import WarnOnce
from optuna_partition._known.units import is_number
from optuna_partition._known.units import MIDDLE
from optuna_partition._known.units import unit_of
from optuna_partition._rules.source import Prior
from optuna_partition._space.values import coordinate_of
from optuna_partition._space.values import is_single
from optuna_partition._space.values import kinds


__all__ = ["Along", "LogNormal", "Normal", "PriorValue", "Priors", "read_prior"]

_USUAL = 0.2  # sides of the cube: how far from a bare number the best may well be
_OTHERS = 0.25  # of a bare choice: how likely each of the others is
_HARDLY = 0.05  # of the likeliest choice: one that has no weight
_EXAMPLE = '{"learning_rate": LogNormal(4e-4, factor=3)}'
_NARROWEST = 0.01  # spread, in sides of the cube


@final
@dataclass(frozen=True)
class Normal:
    """The best value lies about as near to `mean` as a normal distribution has it.

    Args:
        mean: The likeliest value.
        deviation: How far from it the best may well be.

    Raises:
        ValueError: A number is not finite, or the deviation is not above 0.
    """

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not (is_number(self.mean) and is_number(self.deviation) and self.deviation > 0):
            raise ValueError(
                f"`Normal` must have a finite mean and a deviation above 0, but got ({self}); "
                "write for example Normal(0.1, deviation=0.05)."
            )

    @property
    def around(self) -> tuple[float, float, float]:
        """The mean, and one deviation below and above."""
        return self.mean, self.mean - self.deviation, self.mean + self.deviation


@final
@dataclass(frozen=True)
class LogNormal:
    """The best value lies within about a factor of `median`.

    Args:
        median: The likeliest value.
        factor: By which the best may well be smaller or larger.

    Raises:
        ValueError: The median is not above 0, the factor not above 1, or one is not finite.
    """

    median: float
    factor: float = 3.0

    def __post_init__(self) -> None:
        numbers = is_number(self.median) and is_number(self.factor)
        if not (numbers and self.median > 0 and self.factor > 1):
            raise ValueError(
                f"`LogNormal` must have a median above 0 and a factor above 1, but got ({self}); "
                "write for example LogNormal(4e-4, factor=3)."
            )

    @property
    def around(self) -> tuple[float, float, float]:
        """The median, and one factor below and above."""
        return self.median, self.median / self.factor, self.median * self.factor


PriorValue: TypeAlias = Any
"""`Normal`, `LogNormal`, a number; or of choices one, or a mapping of some to weights."""


@final
@dataclass(frozen=True)
class Priors:
    """What is expected of parameters.

    Args:
        given: By name.
        checked: Whether a value that its parameter cannot have is an error rather than left out
            with a warning: one may be a range that depends on others.
    """

    given: Mapping[str, PriorValue]
    checked: bool = False
    _warn: WarnOnce = field(default_factory=WarnOnce, compare=False, repr=False)

    def __call__(self, distributions: Mapping[str, BaseDistribution]) -> list[Prior]:
        """The prior in a space; none where it is about no parameter of it that is not fixed."""
        unknown = sorted(self.given.keys() - distributions.keys())
        if unknown:
            self._warn(
                f"`prior` is for {unknown}, and has no effect on them: the parameters that all "
                f"trials share so far are {sorted(distributions)}."
            )
        axes = [Along() if is_single(d) else self.along(n, d) for n, d in distributions.items()]
        if all(axis == Along() for axis in axes):
            return []
        costs = tuple((i, axis.costs) for i, axis in enumerate(axes) if axis.costs)
        return [Prior(tuple(a.centre for a in axes), tuple(a.spread for a in axes), costs)]

    def along(self, name: str, distribution: BaseDistribution) -> Along:
        """What is expected of one parameter.

        Raises:
            ValueError: Its prior is checked, and none that it can have.
        """
        if name not in self.given:
            return Along()
        try:
            return self._along(name, distribution)
        except ValueError as error:
            if self.checked:
                raise
            self._warn(f"{error} It is left out.")
            return Along()

    def _along(self, name: str, distribution: BaseDistribution) -> Along:
        if isinstance(distribution, CategoricalDistribution):
            return _of_choices(name, distribution, self.given[name])
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        return _of_numbers(name, distribution, self.given[name])


def read_prior(
    prior: Mapping[str, PriorValue] | None,
    space: Mapping[str, BaseDistribution] | None,
    *,
    as_published: bool,
) -> Priors:
    """A prior given by a user.

    Raises:
        ValueError: It is none, or none of that space; or the model is the published one, which
            takes none.
    """
    if prior is None:
        return Priors({})
    check_table("prior", prior, _EXAMPLE, as_published=as_published)
    check_names("prior", prior, space)
    given = Priors(dict(prior), checked=space is not None)
    for name, distribution in (space or {}).items():
        given.along(name, distribution)
    return given


@dataclass(frozen=True)
class Along:
    """What is expected along one axis, as `Prior` has it."""

    centre: float = MIDDLE
    spread: float = math.inf
    costs: tuple[float, ...] = ()


def _of_numbers(
    name: str, distribution: FloatDistribution | IntDistribution, prior: PriorValue
) -> Along:
    if isinstance(prior, Normal | LogNormal):
        at, below, above = prior.around
    elif is_number(prior):
        at, below, above = prior, None, None
    else:
        raise ValueError(
            f"`prior` of a number must be a number, `Normal` or `LogNormal`, but got "
            f"({name}={prior!r}); write for example {_example(distribution)}."
        )
    if not distribution.low <= at <= distribution.high:
        raise ValueError(
            f"`prior` must lie within the parameter's range, but got ({name}={prior!r}) for "
            f"{distribution.low} to {distribution.high}; widen the range or move the prior."
        )
    centre = _unit(name, distribution, at)
    if below is None or above is None:
        return Along(centre, _USUAL)
    if distribution.log and below <= 0:
        return Along(centre, max(_unit(name, distribution, above) - centre, _NARROWEST))
    width = _unit(name, distribution, above) - _unit(name, distribution, below)
    return Along(centre, max(width / 2, _NARROWEST))


def _example(distribution: FloatDistribution | IntDistribution) -> str:
    if distribution.log:
        return f"LogNormal({math.sqrt(distribution.low * distribution.high):.2g}, factor=3)"
    middle, width = (
        (distribution.low + distribution.high) / 2,
        distribution.high - distribution.low,
    )
    return f"Normal({middle:.3g}, deviation={width / 5:.2g})"


def _unit(name: str, distribution: BaseDistribution, value: object) -> float:
    unit = unit_of(name, distribution, value)
    assert unit is not None
    return unit


def _of_choices(name: str, distribution: CategoricalDistribution, prior: PriorValue) -> Along:
    is_one = not isinstance(prior, Mapping)
    weights = [(prior, 1.0)] if is_one else list(prior.items())
    kinds_of = [coordinate_of(distribution, choice) for choice, _ in weights]
    if not weights or None in kinds_of:
        raise ValueError(
            f"`prior` must be one of the parameter's choices, or a dictionary of some of them "
            f"and weights, but got ({name}={prior!r}) for {list(distribution.choices)}."
        )
    for _, weight in weights:
        if not (is_number(weight) and weight > 0):
            raise ValueError(
                f"`prior` must have weights above 0, but got ({name}={prior!r}); leave out a "
                "choice that is hardly likely."
            )
    least = _OTHERS if is_one else _HARDLY * max(weight for _, weight in weights)
    found = [least] * (max(kinds(distribution)) + 1)
    for kind, (_, weight) in zip(kinds_of, weights, strict=True):
        assert isinstance(kind, int)
        found[kind] = weight
    centre = (found.index(max(found)) + 0.5) / len(found)
    return Along(centre, costs=tuple(math.log(max(found) / weight) for weight in found))
