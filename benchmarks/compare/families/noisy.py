"""Family `noisy`: a quadratic in six dimensions, told with Gaussian noise of three sizes."""

from __future__ import annotations

import random

from optuna.distributions import FloatDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Noise
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space


DEVIATIONS = {"sd-0.3": 0.3, "sd-0.1": 0.1, "sd-0": 0.0}
NAMES = tuple(f"x{i}" for i in range(6))
SPACE: Space = {name: FloatDistribution(0, 1) for name in NAMES}


def instances(shift: int) -> list[Instance]:
    return [_instance(name, deviation, shift) for name, deviation in DEVIATIONS.items()]


def _instance(name: str, deviation: float, shift: int) -> Instance:
    chance = random.Random(f"noisy {shift}")  # the same optimum for the three
    best = {each: chance.random() for each in NAMES}

    def value(params: Params) -> float:
        return sum((params[each] - best[each]) ** 2 for each in NAMES)

    noise = _gaussian(deviation) if deviation else None
    return Instance("noisy", name, shift, value, SPACE, least=0.0, best=best, noise=noise)


def _gaussian(deviation: float) -> Noise:
    return lambda params, value, chance: value + chance.gauss(0, deviation)
