"""SOO on Branin's function, and a picture of it: `python examples/branin.py [FILE]`."""

from __future__ import annotations

import math
from pathlib import Path
import sys

from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import optuna

from optuna_partition import SOOSampler
from optuna_partition.inspection import cells


def branin(trial: optuna.Trial) -> float:
    """Three equal minima of 0.397887."""
    x = trial.suggest_float("x", -5, 10)
    y = trial.suggest_float("y", 0, 15)
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def picture(study: optuna.Study) -> Figure:
    """The cells, coloured by the best value inside, and the points that were evaluated."""
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.add_subplot(xlabel="x", ylabel="y", xlim=(-5, 10), ylim=(0, 15))
    found = cells(study)
    boxes = [
        Rectangle(
            (15 * c.low["x"] - 5, 15 * c.low["y"]),
            15 * (c.high["x"] - c.low["x"]),
            15 * (c.high["y"] - c.low["y"]),
        )
        for c in found
    ]
    patches = PatchCollection(boxes, cmap="viridis_r", edgecolor="white", linewidth=0.8)
    patches.set_array([math.log10(c.value or math.nan) for c in found])
    axes.add_collection(patches)
    points = [trial.params for trial in study.trials]
    axes.scatter([p["x"] for p in points], [p["y"] for p in points], s=7, c="black", lw=0)
    best = study.best_params
    axes.scatter(best["x"], best["y"], s=190, marker="*", c="#ffb000", edgecolor="black")
    figure.colorbar(patches, label="log10 of the best value in the cell", pad=0.015)
    axes.set_title(f"SOO on Branin: {len(points)} trials, best {study.best_value:.4f}", loc="left")
    return figure


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(branin, n_trials=150)
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "branin.png")
    picture(study).savefig(file, dpi=110)
    print(f"best {study.best_value:.6f} at {study.best_params}; picture in {file}")


if __name__ == "__main__":
    main()
