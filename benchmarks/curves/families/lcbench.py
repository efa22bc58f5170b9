"""Family `lcbench`: curves of others' networks, kept for the end: nobody tunes on it.

LCBench (Zimmer et al. 2021) trained 2,000 configurations of a network on each of 34 OpenML tasks.
YAHPO Gym (Pfisterer et al. 2022) learned them by a network of its own, which this file evaluates;
data/PROVENANCE.md has its source and licence. A loss is the validation error, from 0 to 1, after
each fourth epoch. The model gives expected curves: there is no noise. Time is the model's, too.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space
from benchmarks.curves.instance import Curve
from benchmarks.curves.instance import Curves


WEIGHTS = Path(__file__).parents[1] / "data" / "lcbench.npz"
FINAL = 1000  # the first shift of the final split
REFERENCE = 5000  # draws of the long random search; one takes two milliseconds
EPOCHS = np.arange(4, 53, 4)
TASKS = {  # OpenML's number of a task: its place in the model
    False: {"126026": 2, "167168": 10, "168330": 18},
    True: {"167181": 11, "168329": 17, "168910": 23, "189862": 25, "189906": 30, "189909": 32},
}
SPACE: Space = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
    "max_units": IntDistribution(64, 1024, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "num_layers": IntDistribution(1, 5),
    "weight_decay": FloatDistribution(1e-5, 1e-1),
}
INPUTS = {  # in the model's order: how it scales them, as (x - low) / width
    "batch_size": (16.0, 495.0),
    "learning_rate": (-9.209311485290527, 6.896975040435791),  # the logarithm
    "momentum": (0.10000386089086533, 0.8822514414787292),
    "weight_decay": (-9.91645622253418, 7.6138458251953125),  # the logarithm
    "num_layers": (1.0, 3.0),
    "max_units": (64.0, 960.0),
    "max_dropout": (0.0005357532645575702, 0.9994120597839355),
}
LOGARITHMS = ("learning_rate", "weight_decay")
EPOCH_WIDTH = 3.9512436389923096  # of the logarithm of the epoch
SECONDS = (0.00014209747314453125, 46790.66796875)  # from 0 at the head to 1
ACCURACY = (-27.63102149963379, 32.233848571777344)  # likewise, its logarithm in per cent


def outputs(params: Params, task: int, epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The model's seconds since the start and validation accuracies, after each epoch."""
    w = _weights()
    x = _inputs(params, epochs) @ w["first"] + w["tasks"][task]
    for i in range(3):
        value, gate = np.split(x @ w[f"in{i}"] + w[f"in{i}_bias"], 2, axis=1)
        x = x + (value * np.maximum(gate, 0)) @ w[f"out{i}"] + w[f"out{i}_bias"]
    x = np.maximum(x * w["scale"] + w["shift"], 0) @ w["head"] + w["head_bias"]
    seconds, accuracy = (1 / (1 + np.exp(-x))).T
    return (
        SECONDS[0] + SECONDS[1] * seconds,
        np.exp(ACCURACY[0] + ACCURACY[1] * accuracy) / 100,
    )


@functools.cache
def _weights() -> dict[str, np.ndarray]:
    with np.load(WEIGHTS) as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def _inputs(params: Params, epochs: np.ndarray) -> np.ndarray:
    rows = np.empty((len(epochs), 1 + len(INPUTS)))
    rows[:, 0] = np.log(epochs) / EPOCH_WIDTH
    for i, (name, (low, width)) in enumerate(INPUTS.items(), 1):
        x = math.log(params[name]) if name in LOGARITHMS else params[name]
        rows[:, i] = (x - low) / width
    return rows


def instances(shift: int) -> list[Curves]:
    """Tasks are not shifted: the tuning split and the final one have different tasks."""
    return [_instance(name, place, shift) for name, place in TASKS[shift >= FINAL].items()]


def _instance(name: str, task: int, shift: int) -> Curves:
    def curve(params: Params) -> Curve:
        return tuple((1 - np.minimum(outputs(params, task, EPOCHS)[1], 1)).tolist())

    def seconds(params: Params) -> float:
        return float(outputs(params, task, EPOCHS[-1:])[0][0]) / len(EPOCHS)

    def value(params: Params) -> float:
        return curve(params)[-1]

    instance = Instance("lcbench", name, shift, value, SPACE, reference=REFERENCE)
    return Curves(instance, len(EPOCHS), curve, seconds)
