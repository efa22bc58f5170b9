"""Family `lora`: the shape of LoRA fine-tuning over mixed spaces, by formulas of our own.

What decides is the strength of the update, u = log10(learning rate) + s log10(alpha / rank), less
b log2(effective batch / 16). Around its optimum lies a narrow ridge; below is the plateau of the
hardly trained model, above the loss rises steeply until the training diverges.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import random

from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space
from benchmarks.compare.instance import Suggests


@dataclass(frozen=True)
class Shape:
    """One response.

    Args:
        ridge: Half width of the ridge in decades of the update's strength.
        scaling: The s above: 1 for LoRA, 0.5 for rank-stabilised LoRA.
        batch: The b above, in decades per doubling of the effective batch.
        edge: Decades above the optimum at which a training diverges.
        diverged: The loss reported then.
    """

    ridge: float
    scaling: float = 1.0
    batch: float = 0.0
    edge: float = 1.5
    diverged: float = 12.0


@dataclass(frozen=True)
class Optimum:
    """Where one shift puts the optimum: what the seed moves."""

    strength: float
    rank: int
    dropout: float
    log_weight_decay: float


BASE = 1.2  # the loss at the optimum
UNTRAINED = 0.8  # how much worse the untouched model is


def loss(params: Params, shape: Shape, optimum: Optimum) -> float:
    """`BASE` at the optimum, larger everywhere else."""
    ratio = params["alpha"] / params["rank"]
    strength = math.log10(params["learning_rate"]) + shape.scaling * math.log10(ratio)
    strength -= shape.batch * math.log2(params.get("effective_batch", 16) / 16)
    distance = strength - optimum.strength
    if distance > shape.edge:
        return shape.diverged
    value = BASE + _ridge(distance, shape.ridge) + _mild(params, optimum)
    return min(value, shape.diverged)


def _ridge(distance: float, width: float) -> float:
    if distance < 0:
        return UNTRAINED * -math.expm1(-((distance / width) ** 2) / 2)
    return UNTRAINED * (math.cosh(min(distance / width, 9.0)) - 1)


def _mild(params: Params, optimum: Optimum) -> float:
    """What matters after the strength: rank, dropout, and hardly the weight decay."""
    value = 0.02 * math.log2(params["rank"] / optimum.rank) ** 2
    value += 0.6 * (params.get("dropout", optimum.dropout) - optimum.dropout) ** 2
    if "weight_decay" in params:
        value += 0.002 * (math.log10(params["weight_decay"]) - optimum.log_weight_decay) ** 2
    return value + 0.05 * (1 - params.get("momentum", 1))


def _rate(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(low, high, log=True)


_BATCH = CategoricalDistribution((8, 16, 32, 64, 128))
_MILD: Space = {
    "dropout": FloatDistribution(0, 0.5),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
}
_RANK_LOG, _RANK = IntDistribution(2, 64, log=True), IntDistribution(2, 64)
_ALPHA = IntDistribution(1, 64)
VARIANTS: dict[str, tuple[Shape, Space]] = {
    "published": (
        Shape(0.8),
        {"learning_rate": _rate(1e-10, 1e-1), "rank": _RANK, "alpha": _ALPHA, **_MILD},
    ),
    "usual": (
        Shape(0.4),
        {"learning_rate": _rate(1e-6, 1e-2), "rank": _RANK_LOG, "alpha": _ALPHA, **_MILD},
    ),
    "narrow": (
        Shape(0.2, batch=0.15),
        {
            "learning_rate": _rate(1e-7, 1e-1),
            "rank": _RANK_LOG,
            "alpha": _ALPHA,
            "effective_batch": _BATCH,
            **_MILD,
        },
    ),
    "cliff": (
        Shape(0.5, edge=0.7, diverged=100.0),
        {"learning_rate": _rate(1e-6, 1e-1), "rank": _RANK, "alpha": _ALPHA, **_MILD},
    ),
    "rank-stabilised": (
        Shape(0.3, scaling=0.5, batch=0.15),
        {
            "learning_rate": _rate(1e-6, 1e-1),
            "rank": _RANK_LOG,
            "alpha": IntDistribution(1, 64, log=True),
            "effective_batch": IntDistribution(4, 256, log=True),
            **_MILD,
        },
    ),
}


def instances(shift: int) -> list[Instance]:
    fixed = [_variant(name, *VARIANTS[name], shift) for name in VARIANTS]
    return [*fixed, _branching(shift)]


def _variant(name: str, shape: Shape, space: Space, shift: int) -> Instance:
    optimum = _optimum(name, space["learning_rate"], shift)
    return Instance(
        family="lora",
        name=name,
        shift=shift,
        value=lambda params: loss(params, shape, optimum),
        space=space,
        least=BASE,
        best=_best(shape, optimum, space),
    )


def _optimum(name: str, rates: FloatDistribution, shift: int) -> Optimum:
    """The strength lies inside the middle half of the searched learning rates' decades."""
    chance = random.Random(f"lora {name} {shift}")
    low, high = math.log10(rates.low), math.log10(rates.high)
    return Optimum(
        strength=low + (high - low) * chance.uniform(0.3, 0.75),
        rank=chance.choice((4, 8, 12, 16, 24, 32)),
        dropout=chance.uniform(0.03, 0.3),
        log_weight_decay=chance.uniform(-4, -2),
    )


def _best(shape: Shape, optimum: Optimum, space: Space) -> Params:
    """alpha = rank: then the learning rate alone is the strength."""
    best = {
        "learning_rate": 10**optimum.strength,
        "rank": optimum.rank,
        "alpha": optimum.rank,
        "effective_batch": 16,
        "dropout": optimum.dropout,
        "weight_decay": 10**optimum.log_weight_decay,
    }
    return {name: best[name] for name in space}


def _branching(shift: int) -> Instance:
    """AdamW with its weight decay, or SGD with its momentum and larger learning rates."""
    rates = _rate(1e-6, 1e-2)
    shape, optimum = Shape(0.4), _optimum("branching", rates, shift)

    def suggest(trial: Suggests) -> Params:
        adamw = trial.suggest_categorical("optimizer", ("adamw", "sgd")) == "adamw"
        params: Params = {
            "optimizer": "adamw" if adamw else "sgd",
            "rank": trial.suggest_int("rank", 2, 64, log=True),
            "alpha": trial.suggest_int("alpha", 1, 64),
        }
        if adamw:
            params["learning_rate"] = trial.suggest_float("adamw_rate", 1e-6, 1e-2, log=True)
            params["weight_decay"] = trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
        else:
            params["learning_rate"] = trial.suggest_float("sgd_rate", 1e-4, 1, log=True)
            params["momentum"] = trial.suggest_float("momentum", 0, 0.99)
        if trial.suggest_categorical("use_dropout", (True, False)):
            params["dropout"] = trial.suggest_float("dropout", 0, 0.5)
        else:
            params["dropout"] = 0.0
        return params

    def value(params: Params) -> float:
        sgd = params["optimizer"] == "sgd"
        rate = params["learning_rate"] / (100 if sgd else 1)
        return loss({**params, "learning_rate": rate}, shape, optimum) + 0.03 * sgd

    best = {
        "optimizer": "adamw",
        "learning_rate": 10**optimum.strength,
        "rank": optimum.rank,
        "alpha": optimum.rank,
        "dropout": optimum.dropout,
        "weight_decay": 10**optimum.log_weight_decay,
    }
    return Instance("lora", "branching", shift, value, suggest=suggest, least=BASE, best=best)
