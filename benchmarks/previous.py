"""What earlier studies are worth: evaluations to the best of one model's grid, others being known.

    python -m benchmarks.previous

The grids are real fine-tunings of 27 models, learning rate by rank (tests/data/tinker_sft.csv). A
point between those of a grid has the loss of the nearest one, and where a run diverged the worst.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import csv
import math
from pathlib import Path
import random
import statistics
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.trial import create_trial

from optuna_partition import BaMSOOSampler


TABLE = Path(__file__).parents[1] / "tests" / "data" / "tinker_sft.csv"
MOST = 20  # evaluations; a search that needs more counts as one more
Grid = dict[tuple[float, int], float]


def grids() -> dict[str, Grid]:
    """Model -> learning rate and rank -> loss."""
    found: dict[str, Grid] = {}
    with TABLE.open() as file:
        for row in csv.DictReader(file):
            if row["state"] == "evaluated":
                at = float(row["learning_rate"]), int(row["rank"])
                found.setdefault(row["model"], {})[at] = float(row["test_nll"])
    return found


def space_of(grid: Grid, kind: str) -> dict[str, BaseDistribution]:
    rates, ranks = (sorted({at[i] for at in grid}) for i in (0, 1))
    if kind == "choices":
        return {"rate": CategoricalDistribution(rates), "rank": CategoricalDistribution(ranks)}
    rate = FloatDistribution(min(rates), max(rates), log=True)
    return {"rate": rate, "rank": IntDistribution(int(min(ranks)), int(max(ranks)), log=True)}


def study_of(grid: Grid, kind: str, sign: float) -> optuna.Study:
    study, space = optuna.create_study(), space_of(grid, kind)
    for (rate, rank), loss in grid.items():
        params = {"rate": rate, "rank": rank}
        trial = create_trial(params=params, distributions=space, value=sign * loss)
        study.add_trial(trial)
    return study


def loss_at(grid: Grid, params: dict[str, Any], kind: str) -> float:
    rate, rank = params["rate"], params["rank"]
    if kind == "choices":
        return grid.get((rate, rank), max(grid.values()))
    steps = math.log(3), math.log(4)  # between neighbours of a grid, about

    def distance(at: tuple[float, int]) -> float:
        gaps = math.log(at[0] / rate) / steps[0], math.log(at[1] / rank) / steps[1]
        return math.hypot(*gaps)

    return grid[min(grid, key=distance)]


def bamsoo(grid: Grid, kind: str, others: list[Grid], sign: float) -> int:
    previous = [study_of(other, kind, sign) for other in others]
    space = space_of(grid, kind)
    sampler = BaMSOOSampler(search_space=space, deterministic=True, previous=previous)
    return evaluations(grid, kind, sampler)


def tpe(grid: Grid, kind: str, others: list[Grid], sign: float) -> int:
    """It cannot be told of others."""
    return evaluations(grid, kind, TPESampler(seed=len(grid)))


def in_turn(grid: Grid, kind: str, others: list[Grid], sign: float) -> int:
    """The points of the grid, those first that are best by their mean rank in the others."""
    orders = [sorted(other, key=lambda at: sign * other[at]) for other in others]
    known = [[order.index(at) / len(order) for order in orders if at in order] for at in grid]
    means = [statistics.mean(ranks) if ranks else 1.0 for ranks in known]
    order = sorted(zip(means, grid, strict=True))
    best = min(grid.values())
    return next(n for n, (_, at) in enumerate(order, 1) if grid[at] == best)


def evaluations(grid: Grid, kind: str, sampler: BaseSampler) -> int:
    """Until the best of a grid."""
    space, best = space_of(grid, kind), min(grid.values())
    study = optuna.create_study(sampler=sampler)
    for n in range(1, MOST + 1):
        trial = study.ask(space)
        study.tell(trial, loss_at(grid, trial.params, kind))
        if study.best_value == best:
            return n
    return MOST + 1


def rows() -> Iterator[tuple[str, list[float]]]:
    """What is known, and the geometric mean over models for each kind of space."""
    found, kinds = grids(), ("choices", "ranges")
    for name, known, sign, search in (
        ("nothing", 0, 1.0, bamsoo),
        ("three other models", 3, 1.0, bamsoo),
        ("eight other models", 8, 1.0, bamsoo),
        ("three models, turned upside down", 3, -1.0, bamsoo),
        ("nothing, TPE", 0, 1.0, tpe),
        ("three other models, their best in turn", 3, 1.0, in_turn),
        ("eight other models, their best in turn", 8, 1.0, in_turn),
        ("three models, turned upside down, their best in turn", 3, -1.0, in_turn),
    ):
        draw = random.Random(0)
        needed: dict[str, list[int]] = {kind: [] for kind in kinds}
        for model, grid in sorted(found.items()):
            others = draw.sample(sorted(found.keys() - {model}), known)
            for kind in kinds:
                count = search(grid, kind, [found[other] for other in others], sign)
                needed[kind].append(min(count, MOST + 1))
        yield name, [statistics.geometric_mean(needed[kind]) for kind in kinds]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| known | learning rate and rank as choices | as ranges |\n|---|---|---|")
    for name, means in rows():
        print(f"| {name} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |", flush=True)


if __name__ == "__main__":
    main()
