"""NOMAD in a process: points to standard output, values from standard input; imports no library.

Run as a file. NOMAD keeps its random numbers and its cache in global variables, cannot be stopped
from its callback and crashes on some problems, so each run has a process of its own, which may be
killed. Arguments: JSON of `Problem`. Each line out is a point, the last one `null` when NOMAD has
converged; each line in is the point's value, `null` where the evaluation failed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from typing import TypedDict


class Problem(TypedDict):
    """What NOMAD is to minimise, by variables: reals (R) and integers (I).

    Attributes:
        types: "R" or "I" each.
        low: Lower bounds.
        high: Upper bounds.
        start: The first point.
        seed: Of NOMAD's directions, below 2^32.
    """

    types: list[str]
    low: list[float]
    high: list[float]
    start: list[float]
    seed: int


def parameters(problem: Problem) -> list[str]:
    """NOMAD's parameters.

    The directions are not its default, ORTHO N+1 QUAD, whose last one follows from a quadratic
    model: NOMAD 4.6.0 crashes where that model is flat, that is on ties.
    """
    return [
        "BB_OUTPUT_TYPE OBJ",
        f"BB_INPUT_TYPE ( {' '.join(problem['types'])} )",
        "DIRECTION_TYPE ORTHO N+1 NEG",
        f"SEED {problem['seed']}",
        "DISPLAY_DEGREE 0",
    ]


def main() -> None:
    """Lets NOMAD minimise a function whose values the caller knows."""
    import PyNomad

    problem: Problem = json.loads(sys.argv[1])
    points = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # NOMAD has a word to say at any DISPLAY_DEGREE

    def evaluate(point: Any) -> int:
        coordinates = [point.get_coord(i) for i in range(len(problem["start"]))]
        print(json.dumps(coordinates), file=points, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            os._exit(0)  # the caller is gone; an exception would not leave NOMAD
        value = json.loads(answer)
        if value is None:
            return 0
        point.setBBO(repr(value).encode())
        return 1

    box = (problem["start"], problem["low"], problem["high"])
    PyNomad.optimize(evaluate, *box, parameters(problem))
    print("null", file=points, flush=True)


if __name__ == "__main__":
    main()
