"""Family `constrained`: published problems with inequality constraints, as BoTorch has them.

Their sources are at each class of `botorch.test_functions.synthetic`. Three problems are for
tuning and four for the table, because a shift moves little here: an engineering formula says
nothing beyond its box, so that a shift cuts a random share off each end of it, and leaves the
minimum inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import random
from typing import Any

from optuna.distributions import FloatDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Params


CUT = 0.1  # of a side, at most, off each end
FIRST_FINAL = 1000  # shift


@dataclass(frozen=True)
class Minimum:
    """Where a problem's feasible minimum is, and how low.

    BoTorch's, or what 30 runs of SLSQP from random points found. `PressureVessel` rounds two axes
    in the value and not in the constraints: its minimum is that of a search of all steps. Both it
    and that of `WeldedBeamSO` are below the published ones because BoTorch's formulas let them be.
    """

    at: tuple[float, ...]
    least: float


_HARTMANN = Minimum((0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573), -3.32237)
TUNE = {
    "ConstrainedGramacy": Minimum((0.1951226887, 0.4046653634), 0.599788),
    "ConstrainedHartmann": _HARTMANN,
    "TensionCompressionString": Minimum((0.0516890571, 0.3567176441, 11.2889713643), 0.01266523),
}
FINAL = {
    "ConstrainedHartmannSmooth": _HARTMANN,
    "PressureVessel": Minimum((0.781249999, 0.4, 40.47927455, 197.78935), 5633.95026),
    "SpeedReducer": Minimum((3.5, 0.7, 17, 7.3, 7.8, 3.3502146661, 5.2866832298), 2996.348165),
    "WeldedBeamSO": Minimum((0.168, 4.0670847822, 10.0, 0.168), 1.58707751),
}


def instances(shift: int) -> list[Instance]:
    """
    Raises:
        NotAvailable: There is no BoTorch.
    """
    try:
        from botorch.test_functions import synthetic
    except ImportError:
        raise NotAvailable("needs `pip install botorch`") from None
    found = TUNE if shift < FIRST_FINAL else FINAL
    return [_cut(name, getattr(synthetic, name), least, shift) for name, least in found.items()]


def _cut(name: str, problem: Callable[..., Any], minimum: Minimum, shift: int) -> Instance:
    import torch

    formula = problem(dtype=torch.double)
    names = [f"x{i}" for i in range(formula.dim)]
    chance = random.Random(f"{name} {shift}")

    def at(params: Params) -> Any:
        return torch.tensor([[params[each] for each in names]], dtype=torch.double)

    def constraints(params: Params) -> dict[str, float]:
        """BoTorch's are slacks, which are to be at least 0."""
        slacks = formula.evaluate_slack_true(at(params))[0]
        return {f"c{i}": -float(slack) for i, slack in enumerate(slacks)}

    boxes = zip(formula.bounds.T.tolist(), minimum.at, strict=True)
    return Instance(
        family="constrained",
        name=name,
        shift=shift,
        value=lambda params: float(formula.evaluate_true(at(params))),
        space={each: _inner(*box, x, chance) for each, (box, x) in zip(names, boxes, strict=True)},
        least=minimum.least,
        best=dict(zip(names, minimum.at, strict=True)),
        constraints=constraints,
    )


def _inner(low: float, high: float, at: float, chance: random.Random) -> FloatDistribution:
    """An axis without its ends, but with a point in it."""
    first, last = (CUT * (high - low) * chance.random() for _ in range(2))
    return FloatDistribution(min(low + first, at), max(high - last, at))
