"""NLopt in a process of its own: points to standard output, values from standard input.

`python -m benchmarks.compare.minimise DIMENSION`. NLopt swallows the exception that would end it,
so the process is killed instead.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import json
import os
import sys


Function = Callable[[Sequence[float]], float]


def direct_l(function: Function, dimension: int) -> None:
    """Gablonsky's DIRECT-L as NLopt has it."""
    import nlopt

    peer = nlopt.opt(nlopt.GN_ORIG_DIRECT_L, dimension)
    peer.set_lower_bounds([0.0] * dimension)
    peer.set_upper_bounds([1.0] * dimension)
    peer.set_min_objective(lambda x, _: function(x))
    peer.set_param("magic_eps", 1e-4)
    peer.set_maxeval(100_000)
    peer.optimize([0.5] * dimension)


def main() -> None:
    (dimension,) = sys.argv[1:]
    points = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints to standard output

    def function(point: Sequence[float]) -> float:
        print(json.dumps([float(x) for x in point]), file=points, flush=True)
        return float(sys.stdin.readline())

    direct_l(function, int(dimension))


if __name__ == "__main__":
    main()
