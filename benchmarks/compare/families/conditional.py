"""Family `conditional`: define-by-run spaces, where a choice decides which parameters exist."""

from __future__ import annotations

import math
import random

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Suggests


def instances(shift: int) -> list[Instance]:
    return [_optimizers(shift), _layers(shift), _kernels(shift), _nested(shift)]


def _square(x: float, at: float, width: float) -> float:
    return ((x - at) / width) ** 2


def _optimizers(shift: int) -> Instance:
    """An optimizer and its own parameters; each has its best learning rate."""
    chance = random.Random(f"optimizers {shift}")
    names = ["adam", "sgd", "rmsprop"]
    chance.shuffle(names)
    worse = dict(zip(names, (0.0, 0.05, 0.15), strict=True))
    rates = {"adam": chance.uniform(-4, -2.5), "sgd": chance.uniform(-2, -0.5)}
    rates["rmsprop"] = chance.uniform(-4, -3)
    own = chance.uniform(0.2, 0.8)

    def suggest(trial: Suggests) -> Params:
        name = trial.suggest_categorical("optimizer", ("adam", "sgd", "rmsprop"))
        params: Params = {"optimizer": name}
        params["rate"] = trial.suggest_float(f"{name}_rate", 1e-6, 1, log=True)
        params["own"] = trial.suggest_float(f"{name}_own", 0, 1)
        if name != "rmsprop":
            params["second"] = trial.suggest_float(f"{name}_second", 0, 1)
        params["dropout"] = trial.suggest_float("dropout", 0, 0.5)
        return params

    def value(params: Params) -> float:
        name = params["optimizer"]
        value = worse[name] + math.log1p(_square(math.log10(params["rate"]), rates[name], 0.7))
        value += 0.5 * _square(params["own"], own, 0.6)
        value += 0.3 * _square(params.get("second", 0.5), 1 - own, 0.6)
        return value + 0.2 * _square(params["dropout"], own / 2, 0.3)

    best: Params = {"optimizer": names[0], "rate": 10 ** rates[names[0]], "own": own}
    best |= {"second": 1 - own, "dropout": own / 2}
    known = names[0] != "rmsprop"  # which has no second parameter to set right
    return Instance(
        "conditional",
        "optimizers",
        shift,
        value,
        suggest=suggest,
        least=0.0 if known else None,
        best=best if known else None,
    )


def _layers(shift: int) -> Instance:
    """One to four layers, each with its width and activation."""
    chance = random.Random(f"layers {shift}")
    depth = chance.randint(2, 4)
    widths = [chance.randint(16, 400) for _ in range(depth)]
    rate = chance.uniform(-4, -2)

    def suggest(trial: Suggests) -> Params:
        params: Params = {"rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True)}
        layers = trial.suggest_int("layers", 1, 4)
        params["widths"] = [
            trial.suggest_int(f"width{i}", 4, 512, log=True) for i in range(layers)
        ]
        params["activation"] = trial.suggest_categorical("activation", ("relu", "tanh", "gelu"))
        return params

    def value(params: Params) -> float:
        value = 0.4 * abs(len(params["widths"]) - depth)
        for width, at in zip(params["widths"], widths, strict=False):
            value += 0.15 * math.log2(width / at) ** 2
        value += 0.1 * ("gelu", "relu", "tanh").index(params["activation"])
        return value + _square(math.log10(params["rate"]), rate, 0.8)

    best = {"rate": 10**rate, "widths": widths, "activation": "gelu"}
    return Instance("conditional", "layers", shift, value, suggest=suggest, least=0.0, best=best)


def _kernels(shift: int) -> Instance:
    """A support vector machine's shape: the kernel decides among gamma, degree and offset."""
    chance = random.Random(f"kernels {shift}")
    c, gamma, degree = chance.uniform(-1, 2), chance.uniform(-4, -1), chance.randint(2, 5)
    offset = chance.uniform(0.2, 0.8)
    least = {"linear": 0.3, "poly": 0.1, "rbf": 0.0}

    def suggest(trial: Suggests) -> Params:
        kernel = trial.suggest_categorical("kernel", ("linear", "poly", "rbf"))
        params: Params = {"kernel": kernel, "c": trial.suggest_float("c", 1e-4, 1e4, log=True)}
        if kernel != "linear":
            params["gamma"] = trial.suggest_float("gamma", 1e-6, 1e1, log=True)
        if kernel == "poly":
            params["degree"] = trial.suggest_int("degree", 2, 5)
            params["offset"] = trial.suggest_float("offset", 0, 1)
        return params

    def value(params: Params) -> float:
        log_c = math.log10(params["c"])
        value = least[params["kernel"]]
        if params["kernel"] == "linear":
            return value + 1 - math.exp(-_square(log_c, c - 1, 2))
        log_gamma = math.log10(params["gamma"])
        along, across = log_c - c + log_gamma - gamma, log_c - c - log_gamma + gamma
        value += 1 - math.exp(-_square(along, 0, 1.0) - _square(across, 0, 4.0))
        if params["kernel"] == "poly":
            value += 0.1 * abs(params["degree"] - degree)
            value += 0.2 * _square(params["offset"], offset, 0.5)
        return value

    best = {"kernel": "rbf", "c": 10**c, "gamma": 10**gamma}
    return Instance("conditional", "kernels", shift, value, suggest=suggest, least=0.0, best=best)


def _nested(shift: int) -> Instance:
    """Branches within branches, of unequal size; the good one is in the second level."""
    chance = random.Random(f"nested {shift}")
    outer, inner = chance.choice("abc"), chance.choice("xy")
    at = [chance.uniform(-0.8, 0.8) for _ in range(5)]

    def suggest(trial: Suggests) -> Params:
        params: Params = {"outer": trial.suggest_categorical("outer", ("a", "b", "c"))}
        size = 2
        if params["outer"] != "a":
            name = f"inner_{params['outer']}"
            params["inner"] = trial.suggest_categorical(name, ("x", "y"))
            size = 3 if params["inner"] == "x" else 4
        branch = params["outer"] + params.get("inner", "")
        params["x"] = [trial.suggest_float(f"{branch}{i}", -1, 1) for i in range(size)]
        params["shared"] = trial.suggest_float("shared", -1, 1)
        return params

    def value(params: Params) -> float:
        value = 0.5 * (params["outer"] != outer)
        value += 0.25 * (outer != "a" and params.get("inner") != inner)
        waves = [0.1 * (1 - math.cos(9 * (x - a))) for x, a in zip(params["x"], at, strict=False)]
        squares = [(x - a) ** 2 for x, a in zip(params["x"], at, strict=False)]
        return value + sum(squares) + sum(waves) + (params["shared"] - at[4]) ** 2

    size = 2 if outer == "a" else 3 if inner == "x" else 4
    best: Params = {"outer": outer, "x": at[:size], "shared": at[4]}
    if outer != "a":
        best["inner"] = inner
    return Instance("conditional", "nested", shift, value, suggest=suggest, least=0.0, best=best)
