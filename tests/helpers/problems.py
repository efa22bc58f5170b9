"""The test problems of Jones et al. 1993 (Dixon and Szego 1978, Yao 1989) by their formulas."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import math


Function = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Problem:
    """A function on a box.

    Args:
        f: The function.
        box: (low, high) per parameter.
        least: Its global minimum.
        direct: Evaluations of DIRECT to within 0.01 %, at the end of that iteration: Gablonsky,
            "DIRECT version 2.0 user guide", 2001, table 4.
        direct_l: The same of DIRECT-L.
    """

    f: Function
    box: tuple[tuple[float, float], ...]
    least: float
    direct: int
    direct_l: int


def branin(x: Sequence[float]) -> float:
    bend = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10


_SHEKEL_A = (
    (4, 4, 4, 4),
    (1, 1, 1, 1),
    (8, 8, 8, 8),
    (6, 6, 6, 6),
    (3, 7, 3, 7),
    (2, 9, 2, 9),
    (5, 5, 3, 3),
    (8, 1, 8, 1),
    (6, 2, 6, 2),
    (7, 3.6, 7, 3.6),
)
_SHEKEL_C = (0.1, 0.2, 0.2, 0.4, 0.4, 0.6, 0.3, 0.7, 0.5, 0.5)


def shekel(m: int) -> Function:
    def f(x: Sequence[float]) -> float:
        return -sum(
            1 / (sum((v - a) ** 2 for v, a in zip(x, row, strict=True)) + c)
            for row, c in zip(_SHEKEL_A[:m], _SHEKEL_C[:m], strict=True)
        )

    return f


_HARTMAN_C = (1.0, 1.2, 3.0, 3.2)
_HARTMAN3_A = ((3.0, 10, 30), (0.1, 10, 35), (3.0, 10, 30), (0.1, 10, 35))
_HARTMAN3_P = (
    (0.3689, 0.1170, 0.2673),
    (0.4699, 0.4387, 0.7470),
    (0.1091, 0.8732, 0.5547),
    (0.03815, 0.5743, 0.8828),
)
_HARTMAN6_A = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMAN6_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartman(a: Sequence[Sequence[float]], p: Sequence[Sequence[float]]) -> Function:
    def f(x: Sequence[float]) -> float:
        return -sum(
            c * math.exp(-sum(w * (v - q) ** 2 for w, v, q in zip(ws, x, qs, strict=True)))
            for c, ws, qs in zip(_HARTMAN_C, a, p, strict=True)
        )

    return f


def goldstein_price(x: Sequence[float]) -> float:
    a, b = x
    first = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    second = 30 + (2 * a - 3 * b) ** 2 * (
        18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2
    )
    return first * second


def six_hump(x: Sequence[float]) -> float:
    a, b = x
    return (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (4 * b**2 - 4) * b**2


def shubert(x: Sequence[float]) -> float:
    return math.prod(sum(j * math.cos((j + 1) * v + j) for j in range(1, 6)) for v in x)


PROBLEMS = {
    "Branin": Problem(branin, ((-5, 10), (0, 15)), 0.39788735772973816, 195, 159),
    "Shekel 5": Problem(shekel(5), ((0, 10),) * 4, -10.153199679058231, 155, 147),
    "Shekel 7": Problem(shekel(7), ((0, 10),) * 4, -10.402940566818664, 145, 141),
    "Shekel 10": Problem(shekel(10), ((0, 10),) * 4, -10.536409816692046, 145, 139),
    "Hartman 3": Problem(
        hartman(_HARTMAN3_A, _HARTMAN3_P), ((0, 1),) * 3, -3.86278214782076, 199, 111
    ),
    "Hartman 6": Problem(
        hartman(_HARTMAN6_A, _HARTMAN6_P), ((0, 1),) * 6, -3.32236801141551, 571, 295
    ),
    "Goldstein-Price": Problem(goldstein_price, ((-2, 2),) * 2, 3.0, 191, 115),
    "Six-hump camel": Problem(six_hump, ((-3, 3), (-2, 2)), -1.031628453489877, 285, 191),
    "Shubert": Problem(shubert, ((-10, 10),) * 2, -186.7309088310239, 2967, 2043),
}

SIMPLE = {
    "constant": Problem(lambda x: 100.0, ((0, 1),) * 2, 100.0, 9, 7),
    "linear": Problem(lambda x: 2 * x[0] + 3 * x[1], ((0, 1),) * 2, 0.0, 475, 173),
    "quadratic": Problem(
        lambda x: 10 + sum((v - 5.3) ** 2 for v in x), ((0, 10),) * 2, 10.0, 139, 65
    ),
}
"""The table's other rows without hidden constraints (a minimum of 0: to within 0.0001)."""
