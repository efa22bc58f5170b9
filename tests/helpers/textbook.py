"""SOO as a textbook has it: floats, a list per depth, nothing shared with the library.

Munos, "Optimistic optimization of a deterministic function without the knowledge of its
smoothness", NIPS 2011, figure 1, with K = 3 and no depth limit: the middle child inherits its
parent's value. Minimises over the unit cube.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import math


Box = list[tuple[float, float]]


def middle(box: Box) -> tuple[float, ...]:
    return tuple((a + b) / 2 for a, b in box)


def thirds(box: Box) -> list[Box]:
    widths = [round(b - a, 9) for a, b in box]
    i = widths.index(max(widths))
    a, b = box[i]
    cuts = [a, a + (b - a) / 3, a + 2 * (b - a) / 3, b]
    return [[*box[:i], (cuts[k], cuts[k + 1]), *box[i + 1 :]] for k in range(3)]


def soo(f: Callable[[tuple[float, ...]], float], dimensions: int) -> Iterator[tuple[float, ...]]:
    """The points SOO evaluates, for ever; the children of node j are 3j, 3j + 1, 3j + 2."""
    root: Box = [(0.0, 1.0)] * dimensions
    leaves: list[dict[int, tuple[Box, float]]] = [{0: (root, f(middle(root)))}]  # by depth, by j
    yield middle(root)
    while True:
        best = None
        for depth in range(len(leaves)):
            if not leaves[depth]:
                continue
            j = min(sorted(leaves[depth]), key=lambda j: leaves[depth][j][1])  # first of equals
            if best is not None and not leaves[depth][j][1] < best:
                continue
            box, best = leaves[depth].pop(j)
            if depth + 1 == len(leaves):
                leaves.append({})
            for i, part in enumerate(thirds(box)):
                if i != 1:
                    yield middle(part)
                value = best if i == 1 else f(middle(part))
                leaves[depth + 1][3 * j + i] = (part, value)


Known = list[tuple[tuple[float, ...], float]]
Believe = Callable[[Known, tuple[float, ...]], tuple[float, float]]
"""(points and values known, place) -> mean and standard deviation there."""


def bamsoo(
    f: Callable[[tuple[float, ...]], float], dimensions: int, believe: Believe, eta: float
) -> Iterator[tuple[float, ...]]:
    """The points BaMSOO evaluates, for ever: Wang et al. 2014, algorithm 3, minimising, K = 3.

    A child whose middle is known inherits the value; the middle child of a spared parent is
    judged like any other.
    """
    root: Box = [(0.0, 1.0)] * dimensions
    known: Known = [(middle(root), f(middle(root)))]
    yield middle(root)
    judged = 1
    leaves: list[dict[int, tuple[Box, float, bool]]] = [{0: (root, known[0][1], True)}]
    while True:
        best = None
        for depth in range(len(leaves)):
            if not leaves[depth]:
                continue
            j = min(sorted(leaves[depth]), key=lambda j: leaves[depth][j][1])
            if best is not None and not leaves[depth][j][1] < best:
                continue
            box, best, observed = leaves[depth].pop(j)
            if depth + 1 == len(leaves):
                leaves.append({})
            for i, part in enumerate(thirds(box)):
                x = middle(part)
                if i == 1 and observed:
                    leaves[depth + 1][3 * j + i] = (part, best, True)
                    continue
                breadth = 0.0
                spared = False
                if len(known) > 1:  # one value makes no model
                    mean, deviation = believe(known, x)
                    breadth = math.sqrt(2 * math.log(math.pi**2 * judged**2 / (6 * eta)))
                    spared = mean - breadth * deviation > min(v for _, v in known)
                judged += 1
                if spared:
                    leaves[depth + 1][3 * j + i] = (part, mean + breadth * deviation, False)
                    continue
                known.append((x, f(x)))
                yield x
                leaves[depth + 1][3 * j + i] = (part, known[-1][1], True)
