"""The samplers: final classes, one per rule, over the shared ask in `_sampler`."""

from __future__ import annotations

from typing import final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from optuna_partition._direct import direct
from optuna_partition._sampler import PartitionSampler
from optuna_partition._soo import SOO


__all__ = ["DIRECTSampler", "SOOSampler"]


@final
class DIRECTSampler(PartitionSampler):
    """DIRECT (Jones, Perttunen and Stuckman 1993; Gablonsky 2001) on an exact partition.

    Each iteration opens the cells on the lower right hull of size and value: those that would
    hold the minimum for some Lipschitz constant. It is Gablonsky's algorithm point by point, and
    not `scipy.optimize.direct`, which also divides cells above the hull. Iterations never wait:
    workers beyond the width of one get the next one's cells, on what is known. No randomness; no
    point is evaluated twice; trials count by where they lie, as with `SOOSampler`.

    Args:
        locally_biased: Whether cells are sized by their longest side and one cell of a size is
            opened at a time (DIRECT-L, Gablonsky and Kelley 2001): better for few minima. Else by
            their diagonal, ties included, as in the original.
        epsilon: Least improvement a cell must promise, as a share of the best value; larger is
            more global.
        search_space: Name -> distribution. By default the parameters that all finished trials
            share, after a first trial at the centre of every distribution.
        seed: Seed of the default `independent_sampler`; the partition itself draws nothing.
        independent_sampler: Samples the parameters outside the search space. By default
            `optuna.samplers.RandomSampler`.
        warn_independent_sampling: Whether to log a warning when a parameter is sampled so.
        stop_when_exhausted: Whether `study.optimize` ends when every point of a finite space is
            evaluated. Otherwise, and in ask and tell, random points are evaluated again.
        show_cells: Whether each trial gets the user attribute `partition` (rule, depth, cell), for
            people who watch in optuna-dashboard; the search does not read it.

    Example:
        >>> import optuna
        >>> from optuna_partition import DIRECTSampler
        >>> study = optuna.create_study(sampler=DIRECTSampler())
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
    """

    def __init__(
        self,
        *,
        locally_biased: bool = True,
        epsilon: float = 1e-4,
        search_space: dict[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
        stop_when_exhausted: bool = True,
        show_cells: bool = True,
    ) -> None:
        if not 0 <= epsilon < 1:
            raise ValueError(f"`0 <= epsilon < 1` must hold, but got ({epsilon=}); 1e-4 is usual.")
        super().__init__(
            direct(locally_biased, epsilon),
            search_space,
            seed,
            independent_sampler,
            warn_independent_sampling,
            stop_when_exhausted,
            show_cells,
        )


@final
class SOOSampler(PartitionSampler):
    """Simultaneous Optimistic Optimization (Munos, NIPS 2011) on an exact partition.

    The space is cut in thirds, longest side first. A sweep visits every depth once and opens the
    best cell of a depth if it beats all cells opened in this sweep, so that coarse and fine cells
    advance together; there is no parameter to set and no randomness. The rule is Wang et al.
    (AISTATS 2014), algorithm 2, without a depth limit. No point is evaluated twice; a finite
    space is evaluated whole and the study then stops.

    Every finished or running trial counts by where it lies, so enqueued, imported and other
    samplers' trials warm-start the search. A failed point takes a value from its neighbours and
    is not tried again; one whose run was interrupted is.

    Args:
        search_space: Name -> distribution. By default the parameters that all finished trials
            share, after a first trial at the centre of every distribution.
        seed: Seed of the default `independent_sampler`; the partition itself draws nothing.
        independent_sampler: Samples the parameters outside the search space. By default
            `optuna.samplers.RandomSampler`.
        warn_independent_sampling: Whether to log a warning when a parameter is sampled so.
        stop_when_exhausted: Whether `study.optimize` ends when every point of a finite space is
            evaluated. Otherwise, and in ask and tell, random points are evaluated again.
        show_cells: Whether each trial gets the user attribute `partition` (rule, depth, cell), for
            people who watch in optuna-dashboard; the search does not read it.

    Example:
        >>> import optuna
        >>> from optuna_partition import SOOSampler
        >>> study = optuna.create_study(sampler=SOOSampler())
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
    """

    def __init__(
        self,
        *,
        search_space: dict[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
        stop_when_exhausted: bool = True,
        show_cells: bool = True,
    ) -> None:
        super().__init__(
            SOO,
            search_space,
            seed,
            independent_sampler,
            warn_independent_sampling,
            stop_when_exhausted,
            show_cells,
        )
