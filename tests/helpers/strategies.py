"""Hypothesis strategies shared by the tests: spaces, axes and points."""

from __future__ import annotations

from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Grid
from optuna_partition._core.axes import LogGrid


def _ints(low: int, count: int, step: int) -> IntDistribution:
    return IntDistribution(low, low + (count - 1) * step, step=step)


def _steps(low: int, count: int) -> FloatDistribution:
    return FloatDistribution(float(low), low + (count - 1) * 0.25, step=0.25)


def _log_ints(low: int, more: int) -> IntDistribution:
    return IntDistribution(low, low + more, log=True)


grid_axes: st.SearchStrategy[Axis] = st.one_of(
    st.builds(Grid, st.integers(1, 40)),
    st.builds(lambda low, n: LogGrid(low, low + n), st.integers(1, 9), st.integers(0, 90)),
)
axes: st.SearchStrategy[Axis] = st.one_of(st.just(Continuous(20)), grid_axes)

finite_distributions: st.SearchStrategy[BaseDistribution] = st.one_of(
    st.just(IntDistribution(0, 1)),
    st.just(FloatDistribution(0.0, 0.5, step=0.5)),
    st.just(CategoricalDistribution(["only"])),
    st.just(CategoricalDistribution(list("abcdefg"))),
    st.builds(_ints, st.integers(-5, 5), st.integers(1, 7), st.integers(1, 3)),
    st.builds(_steps, st.integers(-3, 3), st.integers(1, 6)),
    st.builds(_log_ints, st.integers(1, 4), st.integers(0, 9)),
)
continuous_distributions: st.SearchStrategy[BaseDistribution] = st.one_of(
    st.builds(
        lambda low, width: FloatDistribution(low, low + width),
        st.floats(-1e6, 1e6),
        st.floats(1e-6, 1e6),
    ),
    st.builds(
        lambda low, decades: FloatDistribution(low, low * 10**decades, log=True),
        st.floats(1e-12, 1e3),
        st.floats(0.1, 12),
    ),
)
distributions = st.one_of(continuous_distributions, finite_distributions)


def spaces(
    kinds: st.SearchStrategy[BaseDistribution], most: int = 4
) -> st.SearchStrategy[dict[str, BaseDistribution]]:
    """Search spaces of 1 to `most` parameters."""
    return st.lists(kinds, min_size=1, max_size=most).map(
        lambda found: {f"x{i}": d for i, d in enumerate(found)}
    )
