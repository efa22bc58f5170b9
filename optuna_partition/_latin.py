"""Latin hypercube sampling by SciPy: a trial is a row by number, a parameter a column by name."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
import hashlib
from importlib.util import find_spec
from numbers import Integral
from typing import Any
from typing import final
from typing import Literal
from typing import TYPE_CHECKING

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._core.axes import Continuous
from optuna_partition._space.space import Space
from optuna_partition._study.arguments import checked_space


if TYPE_CHECKING:
    import numpy as np


__all__ = ["LatinHypercubeSampler"]

Optimization = Literal["random-cd"]


@final
class LatinHypercubeSampler(BaseSampler):
    """Latin hypercube sampling (McKay, Beckman and Conover 1979): a start, or a baseline.

    Of `n_trials` trials, exactly one lies in each of `n_trials` equal strata of every parameter.
    Trial k takes row k of the design, and of the next design after `n_trials` rows. So workers
    never share a row and nothing is stored: a design follows from the seed alone. An enqueued
    trial and one that failed use their row up. As the start of another sampler, all parameters of
    a trial are of one row::

        BoTorchSampler(n_startup_trials=10, independent_sampler=LatinHypercubeSampler(n_trials=10))

    Parameters need not be known beforehand: a column is an independent permutation of the strata,
    drawn by the parameter's name, so that any set of columns is a Latin hypercube. An integer,
    a step or a choice takes what its stratum falls on, an integer with `log=True` on the
    logarithmic scale.

    Needs SciPy: ``pip install "optuna-partition[scipy]"``.

    Args:
        n_trials: Rows of a design.
        search_space: Name -> distribution. Its parameters are the columns of one design of
            `scipy.stats.qmc.LatinHypercube`, in this order, rather than of one each.
        optimization: "random-cd" lowers the centred discrepancy of that design by permutations
            (some 0.1 s); needs `search_space`.
        seed: The same for all workers. None derives it from the study's name: a study without a
            name of its own has a new one, and so a new design, each time.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: An argument is out of its range; while sampling, a study has two objectives.

    Example:
        >>> import optuna
        >>> from optuna_partition import LatinHypercubeSampler
        >>> study = optuna.create_study(sampler=LatinHypercubeSampler(n_trials=20))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
    """

    def __init__(
        self,
        *,
        n_trials: int,
        search_space: dict[str, BaseDistribution] | None = None,
        optimization: Optimization | None = None,
        seed: int | None = None,
    ) -> None:
        if find_spec("scipy") is None:
            raise ImportError(
                "`LatinHypercubeSampler` needs SciPy; install it with "
                '`pip install "optuna-partition[scipy]"`.'
            )
        if not _is_integer(n_trials) or n_trials < 1:
            raise ValueError(
                "`n_trials` must be an integer and `n_trials >= 1` must hold, but got "
                f"({n_trials=}); it is the number of trials that cover the space evenly."
            )
        if seed is not None and (not _is_integer(seed) or seed < 0):
            raise ValueError(
                "`seed` must be an integer and `seed >= 0` must hold, but got "
                f"({seed=}); None is allowed too."
            )
        if optimization not in (None, "random-cd"):
            raise ValueError(
                f"`optimization` must be 'random-cd' or None, but got ({optimization=})."
            )
        if optimization is not None and not search_space:
            raise ValueError(
                f"`optimization` needs the columns together, but got ({search_space=}); give "
                "`search_space`, or leave `optimization` out."
            )
        self._n_trials = n_trials
        self._names = tuple(checked_space(search_space) or ())
        self._optimization = optimization
        self._seed = seed

    def reseed_rng(self) -> None:
        """Does nothing: threads and processes share one design."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        block, row = divmod(trial.number, self._n_trials)
        seed = _seed_of(study) if self._seed is None else self._seed
        return _value(param_distribution, self._column(param_name, (seed, block))[row])

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Does nothing: the next row follows from the next trial's number."""

    def _column(self, name: str, seed: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """A parameter's coordinates in [0, 1), row by row."""
        if name in self._names:
            design = _design(self._n_trials, len(self._names), self._optimization, seed)
            return design[:, self._names.index(name)]
        return _design(self._n_trials, 1, None, (*seed, _number(name)))[:, 0]


@lru_cache(maxsize=256)  # every worker asks for the same few, once per parameter of a trial
def _design(
    n_trials: int, columns: int, optimization: Optimization | None, seed: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    import numpy as np
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    design = qmc.LatinHypercube(columns, optimization=optimization, rng=rng).random(n_trials)
    return np.asarray(design)


def _is_integer(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _seed_of(study: Study) -> int:
    """All that the workers of a study know alike before its first trial."""
    return _number(study.study_name)


def _number(text: str) -> int:
    """The same in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _value(distribution: BaseDistribution, unit: float) -> Any:
    """The value at a place in [0, 1), where the values of a finite axis have equal shares."""
    space = Space({"x": distribution})
    (axis,) = space.axes
    x = Fraction(float(unit)) if isinstance(axis, Continuous) else axis.pin(float(unit))[0]
    return space.params((x,))["x"]
