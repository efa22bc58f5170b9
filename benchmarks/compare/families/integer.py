"""Family `integer`: plateaus and steps of ints, stepped floats and choices."""

from __future__ import annotations

from collections.abc import Callable
import math
import random

from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space


Maker = Callable[[random.Random], tuple[Space, Callable[[Params], float], Params]]


def _bowl(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Five ints of 0..100 that pull on each other."""
    space: Space = {f"n{i}": IntDistribution(0, 100) for i in range(5)}
    best = {name: chance.randint(15, 85) for name in space}

    def value(params: Params) -> float:
        d = [(params[name] - best[name]) / 10 for name in space]
        return sum((1 + i) * (d[i] + 0.5 * d[i - 1]) ** 2 for i in range(5))

    return space, value, best


def _rugged(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Rastrigin's waves over three ints of 1..1000, of period 50."""
    space: Space = {f"n{i}": IntDistribution(1, 1000) for i in range(3)}
    best = {name: chance.randint(150, 850) for name in space}

    def value(params: Params) -> float:
        d = [params[name] - best[name] for name in space]
        return sum((v / 100) ** 2 + 1 - math.cos(2 * math.pi * v / 50) for v in d)

    return space, value, best


def _stairs(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Four floats of which only the step counts: wide plateaus."""
    space: Space = {f"x{i}": FloatDistribution(-10, 10) for i in range(4)}
    best = {name: chance.uniform(-7, 7) for name in space}

    def value(params: Params) -> float:
        return float(sum(round(abs(params[name] - best[name])) ** 2 for name in space))

    return space, value, best


def _grid(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Four floats with a step and Rosenbrock's valley."""
    space: Space = {f"x{i}": FloatDistribution(-2, 2, step=0.05) for i in range(4)}
    best = {name: round(0.05 * chance.randint(-20, 20), 2) for name in space}

    def value(params: Params) -> float:
        x = [1 + params[name] - best[name] for name in space]
        return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))

    return space, value, best


def _network(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Ints over decades, few choices and one learning rate."""
    space: Space = {
        "width": IntDistribution(4, 1024, log=True),
        "layers": IntDistribution(1, 12),
        "activation": CategoricalDistribution(("relu", "gelu", "tanh", "silu")),
        "batch": CategoricalDistribution((16, 32, 64, 128, 256)),
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
    }
    best: Params = {"width": chance.randint(20, 600), "layers": chance.randint(2, 10)}
    best["activation"] = chance.choice(("relu", "gelu", "tanh", "silu"))
    best["batch"], best["rate"] = chance.choice((32, 64, 128)), 10 ** chance.uniform(-4, -2)

    def value(params: Params) -> float:
        wider = math.log2(params["width"] / best["width"])
        deeper = params["layers"] - best["layers"]
        faster = math.log10(params["rate"] / best["rate"])
        larger = math.log2(params["batch"] / best["batch"])
        value = 0.1 * wider**2 + 0.02 * deeper**2 + 0.05 * (wider + deeper / 3) ** 2
        value += (faster - 0.15 * larger) ** 2 + 0.02 * abs(larger)
        return value + 0.15 * (params["activation"] != best["activation"])

    return space, value, best


def _choices(chance: random.Random) -> tuple[Space, Callable[[Params], float], Params]:
    """Eight choices without order and two ints; pairs of choices go together."""
    space: Space = {f"c{i}": CategoricalDistribution(("p", "q", "r")) for i in range(8)}
    space |= {f"n{i}": IntDistribution(0, 30) for i in range(2)}
    best: Params = {f"c{i}": chance.choice("pqr") for i in range(8)}
    best |= {f"n{i}": chance.randint(5, 25) for i in range(2)}

    def value(params: Params) -> float:
        wrong = [params[f"c{i}"] != best[f"c{i}"] for i in range(8)]
        value = sum((1 + i / 4) * miss for i, miss in enumerate(wrong))
        value += sum(a != b for a, b in zip(wrong[::2], wrong[1::2], strict=True))
        return value + sum(((params[f"n{i}"] - best[f"n{i}"]) / 8) ** 2 for i in range(2))

    return space, value, best


PROBLEMS: dict[str, Maker] = {
    "bowl": _bowl,
    "rugged": _rugged,
    "stairs": _stairs,
    "grid": _grid,
    "network": _network,
    "choices": _choices,
}


def instances(shift: int) -> list[Instance]:
    return [_instance(name, shift) for name in PROBLEMS]


def _instance(name: str, shift: int) -> Instance:
    space, value, best = PROBLEMS[name](random.Random(f"integer {name} {shift}"))
    return Instance("integer", name, shift, value, space, least=0.0, best=best)
