"""The samplers: final classes, one per rule, over the shared ask in `_study`; and `ByTrial`."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.study import Study

from optuna_partition._gp.models import Models
from optuna_partition._known.features import read_features
from optuna_partition._known.known import Known
from optuna_partition._known.previous import read_previous
from optuna_partition._known.prior import PriorValue
from optuna_partition._known.prior import read_prior
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.bamsoo_2014 import BaMSOO2014
from optuna_partition._rules.belief import CandidatesFunc
from optuna_partition._rules.direct import DIRECT
from optuna_partition._rules.soo import SOO
from optuna_partition._study.arguments import check_number
from optuna_partition._study.arguments import checked_flag
from optuna_partition._study.arguments import checked_seed
from optuna_partition._study.arguments import checked_space
from optuna_partition._study.arguments import ConstraintsFunc
from optuna_partition._study.ask import PartitionSampler
from optuna_partition._study.outside.branches import BranchSampler
from optuna_partition._study.outside.by_trial import ByTrial


__all__ = ["BaMSOOSampler", "ByTrial", "DIRECTSampler", "SOOSampler"]


@final
class BaMSOOSampler(PartitionSampler):
    """SOO's tree with a Gaussian process that says where a point is worth its price.

    For 10 to some hundred expensive evaluations, by one worker or many. It starts with the centre
    of the space and a Latin hypercube of four points; then the most promising point of the whole
    space by expected improvement, and in every third ask the most promising point of the cell
    that a sweep of SOO (see `SOOSampler`) opens next: the sweep visits every scale, so that every
    cell's turn comes even where the model is wrong. Every other one of these turns takes an outer
    third of an axis through the centre, until there is none left. Workers see each other's points:
    those in flight are taken as known to be what the model expects there.

    Constraints of `trial.set_constraint` have a model each. A point is worth its expected
    improvement over the best feasible value, times the probability that all are met (Gardner et
    al. 2014); while nothing is feasible, that probability alone. Where trials fail is learnt the
    same way, so that a region in which trainings die is left after a few deaths.

    What trials report on the way is learnt from. One that was stopped, or still runs, counts by
    the end that its curve forecasts, with the doubt of that. The parameters of a stopped trial are
    asked for again when that has become attractive, as one more trial that is stored as a repeat;
    an objective that has kept a checkpoint goes on from it. See `BoundPruner`.

    Hyperparameters of the model are fitted now and then and kept in the trials, so that all
    workers share a fit and a new process goes on where the last one stopped. Where no model can be
    fitted, it searches as `SOOSampler` does, and says so once.

    With `as_published=True` it is Wang, Shakibi, Jin and de Freitas (AISTATS 2014) to the letter:
    SOO's cells and their centres, where a cell that is surely no improvement takes the model's
    pessimistic bound for its value instead of being evaluated; with BoTorch's `SingleTaskGP`.

    The model estimates the noise of the values. Under noise the least value is but lucky: a cell
    is worth what the model expects at its points, and one of the best points is evaluated once
    more where that is worth more than a new point, by the knowledge gradient (Scott, Frazier and
    Powell 2011). Such a repeat is stored as one. Where the first point that was evaluated twice
    gives the same value again, there is no noise: none is repeated any more, and the model no
    longer takes many narrow valleys for noise.

    Earlier studies may tell where to look: `previous` takes them. The search starts with their
    best points, and the model expects of a point what models of these studies do, as far as they
    turn out to agree. Values need not compare, as losses of other tokenizers do not. A study that
    misleads loses its say as values come. `prior` says where you expect the best, and is such a
    source by itself: the search starts there, and goes elsewhere where values say so.

    Needs BoTorch: ``pip install "optuna-partition[botorch]"``.

    Args:
        as_published: Whether to follow the paper rather than what was measured to be best.
        eta: With `as_published`, the chance that a bound fails, in (0, 1]; larger spares more.
        deterministic: Whether the same parameters always give the same value; then no point is
            evaluated twice, though a stopped one may go on. By default that is found out: see
            above.
        resumes: Whether the objective goes on where an earlier trial with the same parameters was
            stopped. Where it begins anew, say False: then no stopped trial is taken up again.
        candidates_func: Chooses the point instead of expected improvement, with the signature of
            `optuna_integration.BoTorchSampler`'s; everything is in the unit cube, a category or
            an integer at the middle of its share of the axis. A point outside the bounds it is
            given is drawn in. Its third argument has a column for each constraint, by name, above
            0 where it is violated and NaN where it was not set. Not with `as_published`.
        device: Where the model is computed, as torch names devices.
        search_space: Name -> distribution. By default the parameters that all finished trials
            share, after a first trial at the centre of every distribution.
        seed: Varies where the model is asked for promising points, and the default
            `independent_sampler`. None is one of the seeds: the same search every time.
        independent_sampler: Samples the parameters outside the search space, those of branches for
            one. By default a model of each branch does, of the trials that have its parameters
            and with what the partition has chosen for this one; where these are too few,
            `optuna.samplers.TPESampler`.
        warn_independent_sampling: Whether to log a warning when `independent_sampler`, if given,
            samples a parameter.
        stop_when_exhausted: Whether `study.optimize` ends when every point of a finite space is
            evaluated. Otherwise, and in ask and tell, random points are evaluated again.
        show_cells: Whether each trial gets the user attribute `partition` (rule, depth, cell), for
            people who watch in optuna-dashboard; the search does not read it.
        constraints_func: Ended trial -> what each constraint is violated by, at most 0 where it is
            met; as Optuna's samplers have it. `trial.set_constraint` in the objective says the
            same, and a study may have both.
        previous: Earlier studies: of another model, of a part of the data, with other bounds, with
            some other parameters, of any sampler. Their trials are read once. See above.
        prior: Name -> where you expect the best: `LogNormal(4e-4, factor=3)`, `Normal(0.1, 0.05)`,
            a number, a choice, or a dictionary of choices and weights. Not every parameter needs
            one. Not with `as_published`.
        features: Name -> parameter -> power: products that matter as a whole, such as
            `{"strength": {"learning_rate": 1, "alpha": 1, "rank": -1}}`. The model sees the
            logarithm of each beside the parameters. Not with `as_published`.

    Raises:
        ImportError: BoTorch is not installed.
        ValueError: An argument is out of its range, or torch has no such device; while sampling,
            a study has two objectives or `candidates_func` returns no point.

    Example:
        >>> import optuna
        >>> from optuna_partition import BaMSOOSampler
        >>> study = optuna.create_study(sampler=BaMSOOSampler())
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
    """

    def __init__(
        self,
        *,
        as_published: bool = False,
        eta: float = 0.05,
        deterministic: bool = False,
        resumes: bool = True,
        candidates_func: CandidatesFunc | None = None,
        device: str = "cpu",
        search_space: dict[str, BaseDistribution] | None = None,
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
        warn_independent_sampling: bool = True,
        stop_when_exhausted: bool = True,
        show_cells: bool = True,
        constraints_func: ConstraintsFunc | None = None,
        previous: Sequence[Study] = (),
        prior: Mapping[str, PriorValue] | None = None,
        features: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        if find_spec("botorch") is None:
            raise ImportError(
                "`BaMSOOSampler` needs BoTorch; install it with "
                '`pip install "optuna-partition[botorch]"`, or use `DIRECTSampler`.'
            )
        as_published = checked_flag("as_published", as_published)
        check_number("eta", eta, "0 < eta <= 1", "0.05")
        if not 0 < eta <= 1:
            raise ValueError(f"`0 < eta <= 1` must hold, but got ({eta=}); 0.05 is usual.")
        if as_published and candidates_func is not None:
            raise ValueError(
                "`candidates_func` must be None with `as_published=True`, where every point is a "
                f"cell's centre, but got ({candidates_func=}); leave one of the two out."
            )
        if candidates_func is not None and not callable(candidates_func):
            raise ValueError(
                f"`candidates_func` must be a function, but got ({candidates_func=}); None is the "
                "expected improvement."
            )
        tpe = ByTrial(TPESampler, checked_seed(seed) or 0)
        models = Models(as_published, device, candidates_func, seed or 0)
        deterministic = checked_flag("deterministic", deterministic)
        resumes = checked_flag("resumes", resumes)
        default = BaMSOO(models, deterministic=deterministic, seed=seed or 0, resumes=resumes)
        rule = BaMSOO2014(models, eta) if as_published else default
        branches = BranchSampler(rule, replace(models, candidates_func=None), tpe)
        warns = checked_flag("warn_independent_sampling", warn_independent_sampling)
        super().__init__(
            rule,
            search_space=search_space,
            seed=seed,
            independent_sampler=branches if independent_sampler is None else independent_sampler,
            warn_independent_sampling=warns and independent_sampler is not None,
            stop_when_exhausted=stop_when_exhausted,
            show_cells=show_cells,
            constraints_func=constraints_func,
            known=Known(
                read_prior(prior, checked_space(search_space), as_published=as_published),
                read_previous(previous, as_published=as_published),
                read_features(features, checked_space(search_space), as_published=as_published),
            ),
        )


@final
class DIRECTSampler(PartitionSampler):
    """DIRECT (Jones, Perttunen and Stuckman 1993; Gablonsky 2001) on an exact partition.

    Each iteration opens the cells on the lower right hull of size and value: those that would
    hold the minimum for some Lipschitz constant. It is Gablonsky's algorithm point by point, and
    not `scipy.optimize.direct`, which also divides cells above the hull. Iterations never wait:
    workers beyond the width of one get the next one's cells, on what is known. No randomness; no
    point is evaluated twice; trials count by where they lie, and conditional spaces are
    partitioned, as with `SOOSampler`. Cells of all branches are on one hull. Noise does to it what
    it does to SOO: a lucky value keeps its cell in front. Points that violate constraints count as
    failed, by Gablonsky's rule, as `SOOSampler` has it.

    Args:
        locally_biased: Whether cells are sized by their longest side and one cell of a size is
            opened at a time (DIRECT-L, Gablonsky and Kelley 2001): better for few minima. Else by
            their diagonal, ties included, as in the original.
        epsilon: Least improvement a cell must promise, as a share of the best value; larger is
            more global.
        search_space: Name -> distribution. By default the parameters that finished trials have,
            branch by branch, after a first trial at the centre of every distribution.
        seed: Seed of the default `independent_sampler`; the partition itself draws nothing.
        independent_sampler: Samples the parameters outside the search space. By default the rule
            does, of the space of these alone; where `search_space` is given, it is
            `optuna.samplers.RandomSampler`, by trial if there is a seed. A sampler given here has
            the parameters of branches, too, and only what all trials share is partitioned.
        warn_independent_sampling: Whether to log a warning when a given `independent_sampler`
            samples a parameter, or any does beside a given `search_space`.
        stop_when_exhausted: Whether `study.optimize` ends when every point of a finite space is
            evaluated. Otherwise, and in ask and tell, random points are evaluated again.
        show_cells: Whether each trial gets the user attribute `partition` (rule, depth, cell), for
            people who watch in optuna-dashboard; the search does not read it.
        constraints_func: Ended trial -> what each constraint is violated by, at most 0 where it is
            met; as Optuna's samplers have it. `trial.set_constraint` in the objective says the
            same, and a study may have both.

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
        constraints_func: ConstraintsFunc | None = None,
    ) -> None:
        check_number("epsilon", epsilon, "0 <= epsilon < 1", "1e-4")
        if not 0 <= epsilon < 1:
            raise ValueError(f"`0 <= epsilon < 1` must hold, but got ({epsilon=}); 1e-4 is usual.")
        super().__init__(
            DIRECT(checked_flag("locally_biased", locally_biased), float(epsilon)),
            search_space=search_space,
            seed=seed,
            independent_sampler=independent_sampler,
            warn_independent_sampling=warn_independent_sampling,
            stop_when_exhausted=stop_when_exhausted,
            show_cells=show_cells,
            branching=search_space is None and independent_sampler is None,
            constraints_func=constraints_func,
        )


@final
class SOOSampler(PartitionSampler):
    """Simultaneous Optimistic Optimization (Munos, NIPS 2011) on an exact partition.

    The space is cut in thirds, longest side first. A sweep visits every depth once and opens the
    best cell of a depth if it beats all cells opened in this sweep, so that coarse and fine cells
    advance together; there is no parameter to set and no randomness. The rule is Wang et al.
    (AISTATS 2014), algorithm 2, without a depth limit. No point is evaluated twice; a finite
    space is evaluated whole and the study then stops.

    A cell's value is the best one observed inside it. Under noise that is a lucky one, which keeps
    its cell in front for longer than it deserves; `best_trial` tells luck from value.

    Every finished or running trial counts by where it lies, so enqueued, imported and other
    samplers' trials warm-start the search. A failed point takes a value from its neighbours and
    is not tried again. One that Ctrl-C ends is, and has failed after ten such ends that came no
    farther; one that is lost has failed after three. In ask and tell ``study.tell(trial,
    state=TrialState.FAIL)`` says that the job was lost, and ``study.tell(trial, math.nan)`` that
    the objective has no value there.

    A trial that violates a constraint is a failed point, whatever its value. By Gablonsky's rule
    for hidden constraints (2001, section 3.5) its cell takes ``F + 1e-6 |F|``: F is the least
    feasible value in the cell enlarged twice around its centre. Where there is none, it takes one
    more than the worst feasible value. So it can still be opened, and the best is always feasible.

    In a conditional space each branch is partitioned with all of its parameters, and the sweep
    goes over all branches: the choice or integer that decides which parameters a trial has is
    found in the trials that have ended, and cut first. The first trial of a branch is at the
    centre of what is new in it. What follows from a float instead, or has a range that does, is
    in no partition; the rule searches it as a space of its own. A branch whose trials all
    fail or are pruned is known after two of them. Only while nobody knows what is behind a choice
    may trials in flight turn out to be the same.

    Args:
        search_space: Name -> distribution. By default the parameters that finished trials have,
            branch by branch, after a first trial at the centre of every distribution.
        seed: Seed of the default `independent_sampler`; the partition itself draws nothing.
        independent_sampler: Samples the parameters outside the search space. By default the rule
            does, of the space of these alone; where `search_space` is given, it is
            `optuna.samplers.RandomSampler`, by trial if there is a seed. A sampler given here has
            the parameters of branches, too, and only what all trials share is partitioned.
        warn_independent_sampling: Whether to log a warning when a given `independent_sampler`
            samples a parameter, or any does beside a given `search_space`.
        stop_when_exhausted: Whether `study.optimize` ends when every point of a finite space is
            evaluated. Otherwise, and in ask and tell, random points are evaluated again.
        show_cells: Whether each trial gets the user attribute `partition` (rule, depth, cell), for
            people who watch in optuna-dashboard; the search does not read it.
        constraints_func: Ended trial -> what each constraint is violated by, at most 0 where it is
            met; as Optuna's samplers have it. `trial.set_constraint` in the objective says the
            same, and a study may have both.

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
        constraints_func: ConstraintsFunc | None = None,
    ) -> None:
        super().__init__(
            SOO(),
            search_space=search_space,
            seed=seed,
            independent_sampler=independent_sampler,
            warn_independent_sampling=warn_independent_sampling,
            stop_when_exhausted=stop_when_exhausted,
            show_cells=show_cells,
            branching=search_space is None and independent_sampler is None,
            constraints_func=constraints_func,
        )
