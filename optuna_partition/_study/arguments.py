"""What users give to samplers, checked: one message per mistake; reads no study."""

from __future__ import annotations

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler


__all__ = ["check_number", "checked_sampler", "checked_seed", "checked_space"]


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


def checked_sampler(sampler: BaseSampler | None) -> BaseSampler | None:
    """A sampler given by a user, None if none is."""
    if sampler is not None and not isinstance(sampler, BaseSampler):
        raise ValueError(
            "`independent_sampler` must be a sampler, but got "
            f"({sampler!r}); use for example optuna.samplers.TPESampler()."
        )
    return sampler


def check_number(name: str, value: object, rule: str, usual: str) -> None:
    """Refuses what is no number, before its range is looked at."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"`{rule}` must hold, but got ({name}={value!r}); {usual} is usual.")


def checked_seed(seed: int | None) -> int | None:
    """A seed as NumPy's and NOMAD's generators take it."""
    is_integer = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and not (is_integer and 0 <= seed < 2**32):
        raise ValueError(
            "`seed` must be an integer and `0 <= seed < 2**32` must hold, but got "
            f"({seed=}); None is allowed too."
        )
    return seed
