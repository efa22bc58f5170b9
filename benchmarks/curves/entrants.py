"""Who searches: a sampler of `compare` with a pruner, as `tpe+hyperband`, or a peer of its own.

To add a pruner, give `PRUNERS` a function from the steps of a training to an Optuna pruner. A peer
that is no sampler has a file like `peers/dehb.py` and a line in `PEERS`.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import importlib

import optuna
from optuna.pruners import BasePruner
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from benchmarks.compare import peers
from benchmarks.compare.instance import NotAvailable
from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Entrant
from benchmarks.curves.simulate import Job
from optuna_partition import BoundPruner


MakeEntrant = Callable[[Curves, int, int, int], Entrant]  # ... seed, budget in steps, workers


class OptunaEntrant:
    """A study in memory; the objective is the project's, but for the training."""

    def __init__(self, curves: Curves, sampler: str, pruner: str, seed: int) -> None:
        self._curves = curves
        self._study = optuna.create_study(
            study_name=f"{curves.instance.name} {seed}",  # Hyperband draws brackets by the name
            sampler=peers.maker(sampler)(curves.instance, seed),
            pruner=PRUNERS[pruner](curves.steps),
        )

    def ask(self) -> Job:
        trial = self._study.ask()
        return Job(self._curves.instance.ask(trial), self._curves.steps, trial)

    def report(self, job: Job, step: int, loss: float) -> bool:
        job.tag.report(loss, step)
        stop: bool = job.tag.should_prune()
        return stop

    def end(self, job: Job, value: float | None) -> None:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        self._study.tell(job.tag, value, state)


PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda steps: NopPruner(),
    "median": lambda steps: MedianPruner(),
    "halving": lambda steps: SuccessiveHalvingPruner(min_resource=1),
    "hyperband": lambda steps: HyperbandPruner(min_resource=1, max_resource=steps),
    "bound": lambda steps: BoundPruner(last_step=steps),
    "forecast": lambda steps: BoundPruner(race=False),
}
PEERS = {  # name: its module in `peers`, the class in it, what it needs
    "dehb": ("dehb", "DEHBEntrant", "dehb"),
    "smac": ("smac", "SMACEntrant", "smac"),
    "asha": ("synetune", "asha", "syne-tune"),
    "bohb": ("synetune", "bohb", "syne-tune"),
    "ashacqr": ("synetune", "ashacqr", "syne-tune"),
}
USUAL = (
    *("random", "tpe+hyperband", "tpe+halving", "gp+median", "tpe+bound"),
    *("bamsoo", "bamsoo+bound"),
)


def maker(name: str) -> MakeEntrant:
    """The entrant of that name.

    Raises:
        ValueError: There is no such sampler or pruner.
    """
    if name in PEERS:
        return functools.partial(_peer, *PEERS[name])
    sampler, _, pruner = name.partition("+")
    peers.maker(sampler)
    if pruner and pruner not in PRUNERS:
        raise ValueError(f"A pruner is one of {', '.join(PRUNERS)}, but got {pruner!r}.")
    return lambda curves, seed, *_: OptunaEntrant(curves, sampler, pruner or "none", seed)


def _peer(
    file: str, name: str, package: str, curves: Curves, seed: int, budget: int, workers: int
) -> Entrant:
    made = getattr(importlib.import_module(f"benchmarks.curves.peers.{file}"), name)
    try:
        entrant: Entrant = made(curves, seed, budget, workers)
    except ImportError as error:
        raise NotAvailable(f"needs `pip install {package}`: {error}") from None
    return entrant
