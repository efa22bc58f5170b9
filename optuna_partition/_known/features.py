"""What `features` of a sampler holds: products of powers of parameters; reads no study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import final

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._known.checks import check_names
from optuna_partition._known.checks import check_table
from optuna_partition._known.checks import WarnOnce
from optuna_partition._known.units import is_number
from optuna_partition._rules.source import Feature
from optuna_partition._space.values import is_single


__all__ = ["Features", "read_features"]

_FEWEST = 2  # factors; one alone is an axis
_EXAMPLE = '{"strength": {"learning_rate": 1, "alpha": 1, "rank": -1}}'


@final
@dataclass(frozen=True)
class Features:
    """Products of parameters.

    Args:
        given: By name, of each the powers by parameter.
    """

    given: Mapping[str, Mapping[str, float]]
    _warn: WarnOnce = field(default_factory=WarnOnce, compare=False, repr=False)

    def __call__(self, distributions: Mapping[str, BaseDistribution]) -> tuple[Feature, ...]:
        """Those of a space; a parameter that it has not counts as fixed.

        Of a fixed one the product has a constant factor, which says nothing.

        Raises:
            ValueError: A parameter is not a positive number.
        """
        found = []
        for name, powers in self.given.items():
            known = {p: power for p, power in powers.items() if p in distributions}
            if missing := sorted(powers.keys() - known.keys()):
                self._warn(
                    f"`features` has {missing} in {name!r}, which count as fixed: the parameters "
                    f"that all trials share so far are {sorted(distributions)}."
                )
            known = {p: power for p, power in known.items() if not _is_fixed(distributions[p])}
            if len(known) >= _FEWEST:
                names = list(distributions)
                terms = (
                    (names.index(p), float(power), *_ends(p, distributions[p]))
                    for p, power in known.items()
                )
                found.append(Feature(tuple(terms)))
        return tuple(found)

    def check(self, name: str, distribution: BaseDistribution) -> None:
        """Looks at one parameter, before anything is evaluated.

        Raises:
            ValueError: It is in a product, and not a positive number.
        """
        if any(name in powers for powers in self.given.values()):
            _ends(name, distribution)


def read_features(
    features: Mapping[str, Mapping[str, float]] | None,
    space: Mapping[str, BaseDistribution] | None,
    *,
    as_published: bool,
) -> Features:
    """Features given by a user.

    Raises:
        ValueError: They are none, or none of that space; or the model is the published one, which
            takes none.
    """
    if features is None:
        return Features({})
    check_table("features", features, _EXAMPLE, as_published=as_published)
    for name, powers in features.items():
        _check_powers(name, powers)
        check_names("features", powers, space)
    given = Features({name: dict(powers) for name, powers in features.items()})
    for name, distribution in (space or {}).items():
        given.check(name, distribution)
    return given


def _check_powers(name: str, powers: Mapping[str, float]) -> None:
    is_table = isinstance(powers, Mapping) and len(powers) >= _FEWEST
    if not is_table or not all(is_number(power) and power != 0 for power in powers.values()):
        raise ValueError(
            "`features` must give at least two parameters with powers other than 0, but got "
            f"({name}={powers!r}); write for example {_EXAMPLE}."
        )


def _is_fixed(distribution: BaseDistribution) -> bool:
    """Whether a float or a choice is fixed; an integer is a number all the same."""
    return isinstance(distribution, CategoricalDistribution) and is_single(distribution)


def _ends(name: str, distribution: BaseDistribution) -> tuple[float, float, bool]:
    """What the parameter is at both ends of its side of the cube, as `_core.axes` cuts it."""
    rule = f"`features` must be of numbers above 0, but got ({name}={distribution})"
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise ValueError(f"{rule}; leave it out of the product.")
    if distribution.low <= 0:
        raise ValueError(f"{rule}; raise `low`, or leave it out.")
    half = 0.0
    if isinstance(distribution, IntDistribution) or distribution.step is not None:
        half = 0.5 if distribution.log else (distribution.step or 0.0) / 2
    return (
        max(distribution.low - half, distribution.low / 2),
        distribution.high + half,
        (distribution.log),
    )
