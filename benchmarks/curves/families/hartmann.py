"""Family `hartmann`: Hartmann's functions of 3 and 6 dimensions with a fidelity.

The fidelity of Kandasamy et al. (2017, appendix), with the bias, the noise and the four degrees of
mf-prior-bench 1.10. Notation: z is log(step) / log(steps), in [0, 1].

    f(x, z) = -sum_i (alpha_i - bias (1 - z)) exp(-sum_j A_ij (x_j - P_ij)^2)  + |n| noise (1 - z)

with n standard normal. At z = 1 it is Hartmann's function without noise. A training takes 1 in
simulated time at the median, with compare's spread.
"""

from __future__ import annotations

import math
import random

import numpy as np
from optuna.distributions import FloatDistribution

from benchmarks.compare.families.smooth import FORMULAS
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space
from benchmarks.compare.simulate import SIGMA
from benchmarks.curves.instance import Curve
from benchmarks.curves.instance import Curves
from benchmarks.curves.instance import identity


STEPS = 27
DEGREES = {  # how well early losses tell of the last one: bias, noise
    "terrible": (4.0, 5.0),
    "bad": (3.5, 4.0),
    "moderate": (3.0, 3.0),
    "good": (2.5, 2.0),
}
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = {
    3: np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]]),
    6: np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    ),
}
P = {
    3: 1e-4
    * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]),
    6: 1e-4
    * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    ),
}


def fidelities(steps: int) -> np.ndarray:
    """z of each step."""
    return np.log(np.arange(1, steps + 1)) / math.log(steps)


def hartmann(x: np.ndarray, bias: float, z: np.ndarray) -> np.ndarray:
    """Without noise, at each z."""
    bumps = np.exp(-np.sum(A[len(x)] * (x - P[len(x)]) ** 2, axis=1))
    found: np.ndarray = -(ALPHA - bias * (1 - z[:, None])) @ bumps
    return found


def instances(shift: int) -> list[Curves]:
    return [_instance(d, degree, shift) for d in (3, 6) for degree in DEGREES]


def _instance(dimension: int, degree: str, shift: int) -> Curves:
    bias, noise = DEGREES[degree]
    z = fidelities(STEPS)

    def curve(params: Params) -> Curve:
        x = np.array([params[f"x{i}"] for i in range(dimension)])
        return tuple(hartmann(x, bias, z).tolist())

    def measured(params: Params, exact: Curve, chance: random.Random) -> Curve:
        pairs = zip(exact, z, strict=True)
        return tuple(f + abs(chance.gauss(0, 1)) * noise * float(1 - at) for f, at in pairs)

    formula = FORMULAS[f"hartmann{dimension}"]
    name = f"{dimension}d-{degree}"
    instance = Instance(
        *("hartmann", name, shift),
        value=lambda params: curve(params)[-1],
        space=_box(name, formula.at, formula.move, shift),
        least=formula.least,
    )
    return Curves(instance, STEPS, curve, _seconds, measured)


def _box(name: str, at: tuple[float, ...], move: float, shift: int) -> Space:
    """The unit cube, moved so that no centre is lucky."""
    chance = random.Random(f"{name} {shift}")
    moves = [move * chance.uniform(-1, 1) for _ in at]
    return {
        f"x{i}": FloatDistribution(min(m, x), max(1 + m, x))
        for i, (x, m) in enumerate(zip(at, moves, strict=True))
    }


def _seconds(params: Params) -> float:
    return math.exp(random.Random(str(identity(params))).gauss(0, SIGMA)) / STEPS
