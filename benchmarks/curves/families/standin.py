"""Families `standin` and `short`: losses of real LoRA trainings of examples/standin, a surrogate.

The trainings of `standin` have 1,500 rows, those of `short` 400, so that more curves cross. Both
read data/NAME.csv.gz, one training a row, and data/NAME.json, the model's settings; `make` writes
them. Notation: a curve is log(loss - FLOOR) at each validation, centred and scaled; x are the
hyperparameters in `coordinates`. All validations share one Gaussian process, of a Matern 5/2
kernel.

The noise of a training is the left-out residual curve of one of the nearest trainings, so that it
has their spikes, times the share of it that trainings with other seeds have.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
import functools
import gzip
import json
import math
from pathlib import Path
import random
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space
from benchmarks.curves.instance import Curve
from benchmarks.curves.instance import Curves


DATA = Path(__file__).parents[1] / "data"
ROWS = {"standin": 1500, "short": 400}  # of a training
STEPS = 8
FLOOR = 2.7  # below every loss there is; nearer to it, small differences count more
KEPT = 2 / 3  # of the trainings, by the shift
NEIGHBOURS = 8
SPACE: Space = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "rank": IntDistribution(2, 64, log=True),
    "alpha": IntDistribution(1, 64),
    "dropout": FloatDistribution(0.0, 0.5),
    "effective_batch": IntDistribution(4, 64, log=True),
}
LOGARITHMS = ("learning_rate", "weight_decay", "rank", "alpha", "effective_batch")
WIDTHS = np.array([7.0, 9.0, 3.5, 4.2, 0.5, 2.8, 11.0])  # of the coordinates, about


def coordinates(params: Params) -> np.ndarray:
    """x: logarithms, and that of learning rate times alpha, which moves the weights."""
    row = [math.log(params[n]) if n in LOGARITHMS else float(params[n]) for n in SPACE]
    found: np.ndarray = np.array([*row, row[0] + row[3]]) / WIDTHS
    return found


def seconds(params: Params) -> float:
    """Of a full training on an idle core: a line through those that had one."""
    return 14.5 + 0.085 * float(params["rank"])


@dataclass(frozen=True)
class Table:
    """Trainings: hyperparameters, x, and losses by validation."""

    params: list[Params]
    x: np.ndarray
    losses: np.ndarray

    def part(self, rows: Any) -> Table:
        return Table([self.params[i] for i in rows], self.x[rows], self.losses[rows])


def table_of(family: str) -> Path:
    return DATA / f"{family}.csv.gz"


def settings_of(family: str) -> Path:
    return DATA / f"{family}.json"


def read(family: str) -> Table:
    """The trainings of a family that `make` wrote, but for repeats."""
    path = table_of(family)
    if not path.exists():
        raise NotAvailable("needs `python -m benchmarks.curves make`")
    with gzip.open(path, "rt") as file:
        rows = [row for row in csv.DictReader(file) if not row["study"].startswith("repeats")]
    params = [{name: float(row[name]) for name in SPACE} for row in rows]
    losses = [[float(row[f"loss_{i}"]) for i in range(1, STEPS + 1)] for row in rows]
    return Table(params, np.array([coordinates(p) for p in params]), np.array(losses))


@dataclass(frozen=True)
class Settings:
    """Of the process: length scales, variances of the kernel and of the noise, share of noise."""

    lengths: tuple[float, ...]
    variance: float
    noise: float
    share: float

    def kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        scaled = (a[:, None, :] - b[None, :, :]) / np.array(self.lengths)
        r = math.sqrt(5) * np.sqrt(np.sum(scaled**2, axis=-1))
        found: np.ndarray = self.variance * (1 + r + r * r / 3) * np.exp(-r)
        return found


class Surrogate:
    """The process given a table."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._x, self._settings = table.x, settings
        curves = np.log(table.losses - FLOOR)
        self._mean, self._scale = curves.mean(0), curves.std(0)
        noise = settings.noise * np.eye(len(table.x))
        inverse = np.linalg.inv(settings.kernel(table.x, table.x) + noise)
        self._weights = inverse @ ((curves - self._mean) / self._scale)
        self.residuals = self._weights / np.diag(inverse)[:, None] * self._scale  # each left out

    def curve(self, params: Params) -> np.ndarray:
        """The expected one."""
        near = self._settings.kernel(coordinates(params)[None], self._x)[0]
        found: np.ndarray = near @ self._weights * self._scale + self._mean
        return found

    def noise(self, params: Params, chance: random.Random) -> np.ndarray:
        """What one training adds to it."""
        away = (self._x - coordinates(params)) / np.array(self._settings.lengths)
        nearest = np.argsort(np.sum(away**2, axis=1))[:NEIGHBOURS]
        found: np.ndarray = self._settings.share * self.residuals[chance.choice(nearest)]
        return found


def losses(curve: np.ndarray) -> Curve:
    return tuple((FLOOR + np.exp(curve)).tolist())


@functools.cache
def _table(family: str) -> Table:
    return read(family)


def settings(family: str) -> Settings:
    told = json.loads(settings_of(family).read_text())["settings"]
    return Settings(tuple(told["lengths"]), told["variance"], told["noise"], told["share"])


def short(shift: int) -> list[Curves]:
    return instances(shift, "short")


def instances(shift: int, family: str = "standin") -> list[Curves]:
    table = _table(family)
    n = len(table.params)
    kept = sorted(random.Random(shift).sample(range(n), round(KEPT * n)))
    surrogate = Surrogate(table.part(kept), settings(family))

    def curve(params: Params) -> Curve:
        return losses(surrogate.curve(params))

    def measured(params: Params, exact: Curve, chance: random.Random) -> Curve:
        return losses(np.log(np.array(exact) - FLOOR) + surrogate.noise(params, chance))

    def step_seconds(params: Params) -> float:
        return seconds(params) / STEPS

    instance = Instance(family, "lora", shift, lambda params: curve(params)[-1], SPACE)
    return [Curves(instance, STEPS, curve, step_seconds, measured, falling=True)]
