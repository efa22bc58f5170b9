"""The pictures of how the samplers and the pruner search: `python -m docs.pictures [FOLDER]`.

Branin's function has three equal minima. Nothing is drawn at random, so that the pictures are the
same whenever they are made, but for the rounding of BaMSOO's model on another processor. What the
command found is read from a file of `benchmarks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import csv
from itertools import accumulate
import math
from pathlib import Path
import sys

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import optuna
from optuna.pruners import BasePruner
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from examples.branin import branin
from optuna_partition import BaMSOOSampler
from optuna_partition import BoundPruner
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition.inspection import CellInfo
from optuna_partition.inspection import cells


FRAMES = (9, 20, 40, 80)  # evaluations
MINIMA = ((-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475))
COLOUR_MAP = colormaps["viridis_r"]
COLOURS = Normalize(-0.4, 2.2)  # of the logarithm of a value
OPENED = "#d1495b"
STEPS, TRAININGS = 8, 15  # of a training; that a search may take
COMMAND = Path(__file__).parents[1] / "benchmarks" / "curves" / "data" / "command.csv"


def frames() -> Figure:
    """A row for each sampler, a column for each number of evaluations."""
    samplers = {"DIRECT": DIRECTSampler(), "SOO": SOOSampler(), "BaMSOO": BaMSOOSampler()}
    figure = Figure(figsize=(11, 8.6), layout="constrained")
    grid = figure.subplots(len(samplers), len(FRAMES), sharex=True, sharey=True)
    for row, (name, sampler) in zip(grid, samplers.items(), strict=True):
        search(row, name, sampler)
    figure.supxlabel("x")
    figure.supylabel("y")
    drawn = PatchCollection([], cmap=COLOUR_MAP, norm=COLOURS)
    figure.colorbar(drawn, ax=grid, label="log10 of the best value in the cell", pad=0.01)
    return figure


def search(row: Sequence[Axes], name: str, sampler: BaseSampler) -> None:
    """One search, and its partition at each stop."""
    study = optuna.create_study(sampler=sampler)
    for axes, stop in zip(row, FRAMES, strict=True):
        study.optimize(branin, n_trials=stop - len(study.trials))
        draw(axes, study)
        title = f"{name}, {stop} trials: best {study.best_value:.3g}"
        axes.set_title(title, loc="left", fontsize=9)


def draw(axes: Axes, study: optuna.Study) -> None:
    """The cells in the colour of their value, grey without one; trials, minima and the best."""
    found = cells(study)
    patches = PatchCollection(
        [box(cell) for cell in found],
        cmap=COLOUR_MAP.with_extremes(bad="#d8dde1"),
        norm=COLOURS,
        edgecolor="white",
        linewidth=0.6,
    )
    patches.set_array([math.nan if c.value is None else math.log10(c.value) for c in found])
    axes.add_collection(patches)
    axes.scatter(*zip(*MINIMA, strict=True), s=60, marker="o", facecolor="none", edgecolor="white")
    points = [trial.params for trial in study.trials]
    axes.scatter([p["x"] for p in points], [p["y"] for p in points], s=6, c="black", lw=0)
    best = study.best_params
    axes.scatter(best["x"], best["y"], s=90, marker="*", c="#ffb000", edgecolor="black", zorder=3)
    axes.set(xlim=(-5, 10), ylim=(0, 15))


def box(cell: CellInfo) -> Rectangle:
    """A cell in the units of x and y."""
    width, height = (15 * (cell.high[name] - cell.low[name]) for name in ("x", "y"))
    return Rectangle((15 * cell.low["x"] - 5, 15 * cell.low["y"]), width, height)


def choices() -> Figure:
    """One partition, and the cells that each rule would open in it."""
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(branin, n_trials=80)
    known = [c for c in cells(study) if c.value is not None]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    chosen = sweep(known)
    scatter(left, [(c.depth, c.value) for c in known], [(c.depth, c.value) for c in chosen])
    left.set(title="SOO: a sweep over the depths", xlabel="depth (coarse to fine)")
    sizes = [(size(c), c.value) for c in known]
    chosen_sizes = hull(sizes)
    scatter(right, sizes, chosen_sizes)
    right.plot(*zip(*chosen_sizes, strict=True), c=OPENED, lw=1)
    right.set(title="DIRECT: the lower right hull", xlabel="longest side (fine to coarse)")
    for axes in (left, right):
        axes.set(ylabel="best value in the cell", ylim=(-4, 100))
        axes.title.set_fontsize(11)
    return figure


def size(cell: CellInfo) -> float:
    """As a share of the whole space's side."""
    return round(max(cell.high[name] - cell.low[name] for name in cell.low), 9)


def scatter(
    axes: Axes,
    everything: Iterable[tuple[float, float]],
    chosen: Iterable[tuple[float, float]],
) -> None:
    axes.scatter(*zip(*everything, strict=True), s=16, c="#8796a5", lw=0)
    axes.scatter(*zip(*chosen, strict=True), s=70, facecolor="none", edgecolor=OPENED, lw=1.8)


def sweep(known: Sequence[CellInfo]) -> list[CellInfo]:
    """The best cell of each depth that beats all that were opened before it."""
    opened: list[CellInfo] = []
    for depth in sorted({c.depth for c in known}):
        best = min((c for c in known if c.depth == depth), key=lambda c: c.value)
        if not opened or best.value < opened[-1].value:
            opened.append(best)
    return opened


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """From the lowest point to the largest size: those above no line between two others."""
    lowest: dict[float, float] = {}
    for x, y in points:
        lowest[x] = min(y, lowest.get(x, math.inf))
    start = min(lowest.items(), key=lambda point: (point[1], -point[0]))
    chain: list[tuple[float, float]] = []
    for point in sorted(p for p in lowest.items() if p[0] >= start[0]):
        while len(chain) > 1 and _above(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return chain


def _above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def stops() -> Figure:
    """Two searches of as many steps, one that trains to the end and one that stops."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    rows = figure.subplots(2, 1, sharex=True, sharey=True)
    pruners = {"every trial to its end": NopPruner(), "with BoundPruner": BoundPruner()}
    for axes, (name, pruner) in zip(rows, pruners.items(), strict=True):
        trained(axes, name, pruner)
    figure.supxlabel("steps trained")
    figure.supylabel("loss")
    return figure


def trained(axes: Axes, name: str, pruner: BasePruner) -> None:
    """The curves of a search one after the other; a ring where one was stopped."""
    study = optuna.create_study(sampler=BaMSOOSampler(deterministic=True), pruner=pruner)
    spent = 0
    while spent < STEPS * TRAININGS:
        trial = study.ask()
        value, steps, losses = branin(trial), range(1, STEPS + 1), []
        for step in steps:
            losses.append(value + 60 * (1 + trial.params["x"] / 20) * math.exp(-step / 2))
            trial.report(losses[-1], step)
            if trial.should_prune():
                break
        is_whole = len(losses) == STEPS
        if is_whole:
            study.tell(trial, losses[-1])
        else:
            study.tell(trial, state=TrialState.PRUNED)
        x = [spent + step for step in range(len(losses))]
        axes.plot(x, losses, color="#30638e" if is_whole else "#888888", lw=1)
        fill = OPENED if is_whole else "none"
        axes.plot(x[-1:], losses[-1:], "o", color=OPENED, ms=5, mfc=fill)
        spent += len(losses)
    axes.set_yscale("log")
    axes.set_title(f"{name}: {len(study.trials)} trials", loc="left")


def command() -> Figure:
    """Three searches by the command with three seeds each: the best loss, by what was trained."""
    with COMMAND.open() as file:
        rows = list(csv.DictReader(file))
    names = dict.fromkeys(row["search"] for row in rows)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(names), sharex=True, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        for seed in dict.fromkeys(row["seed"] for row in rows):
            ended = [row for row in rows if (row["search"], row["seed"]) == (name, seed)]
            spent = [float(row["trainings"]) for row in ended]
            best = list(accumulate((float(row["loss"]) for row in ended), min))
            axes.step(spent, best, where="post", label=f"seed {seed}", lw=1.5)
        axes.set_title(name, loc="left")
    panels[0].set_ylim(2.78, 2.88)
    panels[-1].legend()
    figure.supxlabel("trainings' worth of steps")
    figure.supylabel("best validation loss")
    return figure


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    frames().savefig(folder / "frames.png", dpi=100)
    choices().savefig(folder / "choices.png", dpi=100)
    stops().savefig(folder / "stops.png", dpi=100)
    command().savefig(folder / "searches.png", dpi=100)


if __name__ == "__main__":
    main()
