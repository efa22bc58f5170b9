"""Family `smooth`: analytic functions of the literature on randomly shifted boxes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import random
import sys

from optuna.distributions import FloatDistribution

from benchmarks.compare.instance import Instance


sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "helpers"))
from problems import Function  # the tests' formulas
from problems import PROBLEMS


Box = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Formula:
    """A function, its box, where and how low its minimum is, and how far the box may move.

    `move` is a share of the side: 0.1 where values beyond the box are another problem, 0.35 where
    the minimum is at the centre, which is the first point of every partition.
    """

    f: Function
    box: Box
    at: tuple[float, ...]
    least: float
    move: float = 0.1


def rosenbrock(x: Sequence[float]) -> float:
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def ackley(x: Sequence[float]) -> float:
    n = len(x)
    norm = math.sqrt(sum(v * v for v in x) / n)
    waves = sum(math.cos(2 * math.pi * v) for v in x) / n
    return -20 * math.exp(-0.2 * norm) - math.exp(waves) + 20 + math.e


def levy(x: Sequence[float]) -> float:
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    end = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + end


def ellipsoid(x: Sequence[float]) -> float:
    """Axes of condition 1000, turned: neighbours are mixed so that no axis is an eigenvector."""
    turned = [0.8 * a + 0.6 * b for a, b in zip(x, [*x[1:], x[0]], strict=True)]
    return sum(1000 ** (i / (len(x) - 1)) * v * v for i, v in enumerate(turned))


def styblinski_tang(x: Sequence[float]) -> float:
    return sum(v**4 - 16 * v**2 + 5 * v for v in x) / 2


def griewank(x: Sequence[float]) -> float:
    waves = math.prod(math.cos(v / math.sqrt(i)) for i, v in enumerate(x, 1))
    return sum(v * v for v in x) / 4000 - waves + 1


def michalewicz(x: Sequence[float]) -> float:
    return -sum(
        math.sin(v) * math.sin(i * v * v / math.pi) ** 20 if 0 <= v <= math.pi else 0.0
        for i, v in enumerate(x, 1)
    )


def logarithm(f: Function) -> Function:
    return lambda x: math.log(f(x))


def _of_jones(name: str, *at: float) -> Formula:
    problem = PROBLEMS[name]
    return Formula(problem.f, problem.box, at, problem.least)


_GOLDSTEIN = PROBLEMS["Goldstein-Price"]
FORMULAS = {
    "branin": _of_jones("Branin", math.pi, 2.275),
    "hartmann3": _of_jones("Hartman 3", 0.114614, 0.555649, 0.852547),
    "hartmann6": _of_jones("Hartman 6", 0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.657300),
    "six-hump-camel": _of_jones("Six-hump camel", 0.0898420, -0.7126564),
    "shekel10": _of_jones("Shekel 10", 4.000747, 4.000593, 3.999663, 3.999510),
    "goldstein-price-log": Formula(
        logarithm(_GOLDSTEIN.f), _GOLDSTEIN.box, (0, -1), math.log(_GOLDSTEIN.least)
    ),
    "rosenbrock2": Formula(rosenbrock, ((-2, 2),) * 2, (1, 1), 0),
    "rosenbrock4": Formula(rosenbrock, ((-2, 2),) * 4, (1,) * 4, 0),
    "ackley4": Formula(ackley, ((-15, 15),) * 4, (0,) * 4, 0, move=0.35),
    "levy5": Formula(levy, ((-10, 10),) * 5, (1,) * 5, 0, move=0.35),
    "ellipsoid5": Formula(ellipsoid, ((-5, 5),) * 5, (0,) * 5, 0, move=0.35),
    "styblinski-tang4": Formula(
        styblinski_tang, ((-5, 5),) * 4, (-2.903534,) * 4, -39.16616570377142 * 4
    ),
    "griewank3": Formula(griewank, ((-10, 10),) * 3, (0,) * 3, 0, move=0.35),
    "michalewicz5": Formula(
        michalewicz,
        ((0, math.pi),) * 5,
        (2.202906, 1.570796, 1.284992, 1.923058, 1.720470),
        -4.687658179,
    ),
}


def instances(shift: int) -> list[Instance]:
    return [_shifted(name, formula, shift) for name, formula in FORMULAS.items()]


def _shifted(name: str, formula: Formula, shift: int) -> Instance:
    """The formula on a box that moved, so that no centre is lucky."""
    chance = random.Random(f"{name} {shift}")
    moves = [formula.move * (high - low) * chance.uniform(-1, 1) for low, high in formula.box]
    axes = [
        FloatDistribution(min(low + m, at), max(high + m, at))
        for (low, high), m, at in zip(formula.box, moves, formula.at, strict=True)
    ]
    names = [f"x{i}" for i in range(len(axes))]
    return Instance(
        family="smooth",
        name=name,
        shift=shift,
        value=_by_name(formula.f, names),
        space=dict(zip(names, axes, strict=True)),
        least=formula.least,
        best=dict(zip(names, formula.at, strict=True)),
    )


def _by_name(f: Function, names: Sequence[str]) -> Callable[[dict[str, float]], float]:
    return lambda params: f([params[name] for name in names])
