"""What users give to samplers, and to trials, checked: one message per mistake; reads no study."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import math
import sys
from typing import TypeAlias
import warnings

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from optuna_partition._space.values import integers
from optuna_partition._space.values import kinds


__all__ = [
    "ConstraintsFunc",
    "check_number",
    "checked_constraints",
    "checked_flag",
    "checked_function",
    "checked_sampler",
    "checked_seed",
    "checked_space",
    "searched",
]

ConstraintsFunc: TypeAlias = Callable[[FrozenTrial], Sequence[float]]
"""An ended trial -> what each constraint is violated by; at most 0 is feasible."""

_FINEST_STEP = sys.float_info.epsilon / 1e-8  # Optuna allows for an error of 1e-8 steps


def checked_space(space: dict[str, BaseDistribution] | None) -> dict[str, BaseDistribution] | None:
    """A search space given by a user, None if none is."""
    if space is None:
        return None
    if not isinstance(space, dict):
        raise ValueError(
            "`search_space` must be a dictionary of names and Optuna distributions, but got "
            f'({space!r}); use for example {{"x": optuna.distributions.FloatDistribution(0, 1)}}.'
        )
    for name, distribution in space.items():
        if not isinstance(name, str):
            raise ValueError(
                f"`search_space` must have texts for names, but got ({name!r}); use {str(name)!r}."
            )
        if not isinstance(distribution, BaseDistribution):
            raise ValueError(
                "`search_space` must map names to Optuna distributions, but got "
                f"({name}={distribution!r}); use for example "
                "optuna.distributions.FloatDistribution(low, high)."
            )
    return space


def searched(space: dict[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """The parameters there is something to search in; Optuna sets the others by itself.

    Raises:
        ValueError: Optuna would find a parameter's own values outside its distribution.
    """
    for name, distribution in space.items():
        if isinstance(distribution, IntDistribution) and not distribution.single():
            integers(distribution, name)
        if isinstance(distribution, CategoricalDistribution):
            _warn_of_equal_choices(name, distribution)
        if _is_too_fine(distribution):
            raise ValueError(
                f"`step` must be larger than {_FINEST_STEP:.2g} of `low` and `high`, or Optuna "
                "takes its rounded multiples for values outside, but got "
                f"({name}={distribution}); leave `step` out, or suggest what is added to `low`."
            )
    return {name: d for name, d in space.items() if not d.single()}


def _warn_of_equal_choices(name: str, distribution: CategoricalDistribution) -> None:
    found = kinds(distribution)
    if max(found) + 1 < len(found):
        left_out = [c for i, c in enumerate(distribution.choices) if found[i] in found[:i]]
        warnings.warn(
            f"Of equal choices Optuna keeps the first, so that {left_out} of "
            f"({name}={distribution}) will not be tried: use texts that differ, and let the "
            "objective make values of them.",
            stacklevel=3,
        )


def _is_too_fine(distribution: BaseDistribution) -> bool:
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return False
    largest = max(abs(distribution.low), abs(distribution.high))
    return not distribution.single() and distribution.step <= _FINEST_STEP * largest


def checked_sampler(sampler: BaseSampler | None) -> BaseSampler | None:
    """A sampler given by a user, None if none is."""
    if sampler is not None and not isinstance(sampler, BaseSampler):
        raise ValueError(
            "`independent_sampler` must be a sampler, but got "
            f"({sampler!r}); use for example optuna.samplers.TPESampler()."
        )
    return sampler


def checked_function(function: ConstraintsFunc | None) -> ConstraintsFunc | None:
    """A `constraints_func` given by a user, None if none is."""
    if function is not None and not callable(function):
        raise ValueError(
            f"`constraints_func` must be a function, but got ({function!r}); leave it out where "
            "the objective calls `trial.set_constraint`."
        )
    return function


def checked_constraints(found: Sequence[float], number: int) -> tuple[float, ...]:
    """What a `constraints_func` returned for a trial."""
    is_sequence = isinstance(found, list | tuple | np.ndarray) and np.ndim(found) == 1
    if not is_sequence or not all(_is_number(x) for x in found):
        raise ValueError(
            "`constraints_func` must return a sequence of numbers, each at most 0 where a "
            f"constraint is met and none of them NaN, but got ({found!r}) for trial {number}; "
            "for one constraint return a tuple of one, and of what cannot be told return inf."
        )
    return tuple(float(x) for x in found)


def _is_number(x: object) -> bool:
    return isinstance(x, int | float | np.integer | np.floating) and not math.isnan(x)


def check_number(name: str, value: object, rule: str, usual: str) -> None:
    """Refuses what is no number, before its range is looked at."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"`{rule}` must hold, but got ({name}={value!r}); {usual} is usual.")


def checked_flag(name: str, value: object) -> bool:
    """An argument that is on or off."""
    if not (isinstance(value, bool | int | np.bool_) and value in (True, False)):
        raise ValueError(f"`{name}` must be True or False, but got ({name}={value!r}).")
    return bool(value)


def checked_seed(seed: int | None) -> int | None:
    """A seed as NumPy's and NOMAD's generators take it."""
    is_integer = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and not (is_integer and 0 <= seed < 2**32):
        raise ValueError(
            "`seed` must be an integer and `0 <= seed < 2**32` must hold, but got "
            f"({seed=}); None is allowed too."
        )
    return seed
