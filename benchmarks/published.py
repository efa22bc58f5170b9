"""BaMSOO's published curves: `python -m benchmarks.published [--problems branin hartmann3]`.

One run each of SOO, of BaMSOO as published and of the default, on the functions of Wang, Shakibi,
Jin and de Freitas (AISTATS 2014), beside what their figures 3 and 4 show: the logarithm to base 10
of the distance to the minimum after so many evaluations. Theirs cut a cell in two and know the
hyperparameters of their process; ours cut in three and fit them. Values read off a figure are
good to 0.1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import itertools
import math

import optuna
from optuna.distributions import FloatDistribution

from benchmarks.compare import peers
from benchmarks.compare.families.smooth import Formula
from benchmarks.compare.families.smooth import FORMULAS
from benchmarks.compare.families.smooth import rosenbrock
from benchmarks.compare.instance import Instance


Curve = tuple[float, ...]


@dataclass(frozen=True)
class Published:
    """What the figures show.

    Args:
        formula: The function.
        at: Evaluations.
        bamsoo: BaMSOO there.
        soo: SOO there.
    """

    formula: Formula
    at: tuple[int, ...]
    bamsoo: Curve
    soo: Curve


CURVES = {
    "branin": Published(
        FORMULAS["branin"],
        (50, 100, 200),
        bamsoo=(-4.9, -6.8, -7.7),
        soo=(-0.3, -1.0, -1.9),
    ),
    "rosenbrock2": Published(
        Formula(rosenbrock, ((-5, 10),) * 2, (1, 1), 0),
        (50, 100, 200),
        bamsoo=(-1.0, -3.4, -5.2),
        soo=(0.7, 0.0, -0.4),
    ),
    "hartmann3": Published(
        FORMULAS["hartmann3"],
        (50, 100, 150, 200),
        bamsoo=(-1.3, -2.1, -7.6, -7.6),
        soo=(-0.7, -1.3, -1.3, -1.3),
    ),
    "shekel10": Published(
        FORMULAS["shekel10"],
        (300, 350, 500),
        bamsoo=(0.6, -4.8, -5.5),
        soo=(0.85, 0.85, 0.1),
    ),
    "hartmann6": Published(
        FORMULAS["hartmann6"],
        (150, 200, 300, 400, 500),
        bamsoo=(-0.3, -1.5, -1.8, -3.1, -4.3),
        soo=(-0.25, -0.25, -0.25, -0.3, -1.0),
    ),
}
OURS = {"soo": peers.soo, "bamsoo-2014": peers.bamsoo_2014, "bamsoo": peers.bamsoo}


def distances(name: str, sampler: str, at: Sequence[int]) -> Curve:
    """Logarithm of the distance to the minimum after so many evaluations of one run."""
    formula = CURVES[name].formula
    space = {f"x{i}": FloatDistribution(*ends) for i, ends in enumerate(formula.box)}
    instance = Instance("published", name, 0, lambda x: formula.f(list(x.values())), dict(space))
    study = optuna.create_study(sampler=OURS[sampler](instance, 0))
    for _ in range(max(at)):
        trial = study.ask(dict(space))
        study.tell(trial, formula.f(list(trial.params.values())))
    found = list(itertools.accumulate((trial.value for trial in study.trials), min))
    # the minimum is known to eight digits
    return tuple(math.log10(max(found[n - 1] - formula.least, 1e-8)) for n in at)


def line(name: str, who: str, curve: Curve) -> str:
    return f"{name:>12} {who:>20} " + " ".join(f"{value:>6.1f}" for value in curve)


def main() -> None:
    parser = argparse.ArgumentParser(description="the published curves of BaMSOO")
    parser.add_argument("--problems", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--most", type=int, default=200, help="evaluations of a run")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in options.problems:
        curve = CURVES[name]
        at = [n for n in curve.at if n <= options.most]
        if not at:
            print(f"{name:>12} needs --most {curve.at[0]}: its curve begins there")
            continue
        print(line(name, "evaluations", tuple(map(float, at))))
        for who in ("bamsoo", "soo"):
            print(line(name, f"{who}, published", getattr(curve, who)[: len(at)]))
        for who in OURS:
            print(line(name, f"{who}, ours", distances(name, who, at)), flush=True)


if __name__ == "__main__":
    main()
