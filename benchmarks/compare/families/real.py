"""Family `real`: the 203 real LoRA fine-tunings of Davouse and Talbi (OLA 2025) as a surrogate.

Reads tests/data/ola2025_llama1b.csv. The value is minus the HellaSwag accuracy, interpolated
between the nearest evaluations; a shift leaves out a random tenth of them. Told is the value with
the noise of the paper's repeated evaluations: 1e-4 where nothing happens, and now and then a
training with a high learning rate that diverges.
"""

from __future__ import annotations

import csv
import functools
import math
from pathlib import Path
import random

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space


TABLE = Path(__file__).parents[3] / "tests" / "data" / "ola2025_llama1b.csv"
NEIGHBOURS = 6
CHANCE = 0.2504  # the accuracy of a model that diverged
COLUMNS = ("learning_rate", "rank", "alpha", "dropout", "weight_decay")
_SHARED: Space = {
    "learning_rate": FloatDistribution(1e-10, 1e-1, log=True),
    "dropout": FloatDistribution(0, 0.5),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
}
SPACES: dict[str, Space] = {
    "published": {**_SHARED, "rank": IntDistribution(2, 64), "alpha": IntDistribution(1, 64)},
    "logarithmic": {
        **_SHARED,
        "rank": IntDistribution(2, 64, log=True),
        "alpha": IntDistribution(1, 64, log=True),
    },
}


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    with TABLE.open() as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "evaluated"]
    points = [_features({name: float(row[name]) for name in COLUMNS}) for row in rows]
    return np.array(points), np.array([float(row["hellaswag_acc"]) for row in rows])


def _features(params: Params) -> tuple[float, ...]:
    """Coordinates in which the accuracy is smooth: each about 1 wide per unit of importance."""
    rate, ratio = math.log10(params["learning_rate"]), params["alpha"] / params["rank"]
    return (
        rate / 3,
        math.log10(ratio) * 0.8,
        math.log10(params["alpha"]) * 0.6,
        params["dropout"] * 0.5,
        math.log10(params["weight_decay"]) / 10,
    )


def instances(shift: int) -> list[Instance]:
    points, scores = _table()
    kept = random.Random(shift).sample(range(len(points)), round(0.9 * len(points)))
    return [_instance(name, points[kept], scores[kept], shift) for name in SPACES]


def _instance(name: str, points: np.ndarray, scores: np.ndarray, shift: int) -> Instance:
    def value(params: Params) -> float:
        """Shepard's interpolation over the nearest evaluations."""
        distances = np.sum((points - _features(params)) ** 2, axis=1)
        near = np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]
        weights = 1 / (distances[near] + 1e-3)
        return -float(weights @ scores[near] / weights.sum())

    return Instance("real", name, shift, value, SPACES[name], noise=_noise)


def _noise(params: Params, value: float, chance: random.Random) -> float:
    """Two of 35 repeated evaluations differed by 0.18, both at a high learning rate."""
    diverges = params["learning_rate"] > 1e-3 and chance.random() < 0.2
    noisy = value + chance.gauss(0, 1e-4)
    return max(noisy, min(noisy + 0.18, -CHANCE)) if diverges else noisy
