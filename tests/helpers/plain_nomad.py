"""NOMAD itself, without the sampler: `PyNomad.optimize` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import optuna


PLAIN = """
import json, math, sys, PyNomad
value, start, low, high, types, seed, evaluations = json.loads(sys.argv[1])
points = []
def evaluate(point):
    x = [point.get_coord(i) for i in range(len(start))]
    points.append(x)
    found = eval(value, {"math": math, "x": x})
    if found is None:
        return 0
    point.setBBO(repr(found).encode())
    return 1
PyNomad.optimize(evaluate, start, low, high, [
    "BB_OUTPUT_TYPE OBJ", "BB_INPUT_TYPE ( " + " ".join(types) + " )", "DISPLAY_DEGREE 0",
    "DIRECTION_TYPE ORTHO N+1 NEG", f"SEED {seed}", f"MAX_BB_EVAL {evaluations}",
])
print("points", json.dumps(points))
"""


def plain(
    value: str,
    start: list[float],
    low: list[float],
    high: list[float],
    types: str = "RR",
    seed: int = 0,
    evaluations: int = 40,
) -> list[list[float]]:
    """The points of NOMAD on an expression in x."""
    problem = json.dumps([value, start, low, high, list(types), seed, evaluations])
    command = [sys.executable, "-c", PLAIN, problem]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("points")]
    return json.loads(line.removeprefix("points"))


def places(study: optuna.Study) -> list[list[object]]:
    return [list(trial.params.values()) for trial in study.trials]
