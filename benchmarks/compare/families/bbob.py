"""Family `bbob`: functions of the BBOB suite, by coco-experiment where it is installed."""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import FloatDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Params


FUNCTIONS = (1, 2, 6, 8, 10, 15, 16, 20, 21, 23)
DIMENSIONS = (3, 5)


def instances(shift: int) -> list[Instance]:
    """A shift is an instance of the suite: its own optimum, rotation and offset."""
    return [_instance(f, d, shift) for f in FUNCTIONS for d in DIMENSIONS]


def _instance(function: int, dimension: int, shift: int) -> Instance:
    try:
        from cocoex import BareProblem
    except ImportError:
        raise NotAvailable("bbob needs `pip install coco-experiment`") from None
    problem = BareProblem("bbob", function, dimension, shift + 1)
    names = [f"x{i}" for i in range(dimension)]
    return Instance(
        family="bbob",
        name=f"f{function:02}-{dimension}d",
        shift=shift,
        value=_by_name(problem, names),
        space={name: FloatDistribution(-5, 5) for name in names},
        least=float(problem.best_value()),
    )


def _by_name(
    problem: Callable[[list[float]], float], names: list[str]
) -> Callable[[Params], float]:
    return lambda params: float(problem([params[name] for name in names]))
