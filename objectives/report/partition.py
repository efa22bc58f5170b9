"""The report's figure of the partition: cells and trials projected on two parameters."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.report import canvas
from objectives.report import scales
from objectives.report.given import CellBox
from objectives.report.history import History


__all__ = ["ToUnit", "partition"]

ToUnit = Callable[[Mapping[str, Any]], Mapping[str, float]]


def partition(
    history: History,
    cells: Sequence[CellBox],
    names: Sequence[str],
    to_unit: ToUnit | None = None,
    width: float = 10.0,
) -> Figure:
    """The outlines of all cells and the trials, projected on one or two parameters.

    Args:
        history: The trials.
        cells: The cells, in shares of each parameter's axis.
        names: One or two parameters: the horizontal and the vertical one.
        to_unit: Parameters -> shares of their axes, as the cells have them, {} when they lie
            outside the cells; by default each parameter's own linear or log scale.
        width: Inches.
    """
    figure = Figure(figsize=(width, min(5.8, 0.95 * width)))
    axes = figure.add_subplot()
    axes.grid(False)
    place = to_unit or _default_place(history)
    _outline(axes, cells, names)
    inside = [t for t in history.trials if _inside(history, t) and place(t.params)]
    for state, look in ((TrialState.FAIL, canvas.CROSS), (TrialState.PRUNED, canvas.RING)):
        lost = [t for t in history.that_are(state) if t in inside]
        axes.scatter(*_spots(lost, names, place), s=32, zorder=3, clip_on=False, **look)
    complete = [t for t in inside if t.state == TrialState.COMPLETE]
    canvas.coloured(axes, history, complete, *_spots(complete, names, place), size=44)
    _label_axes(axes, history, names, place)
    canvas.value_bar(figure, [axes], history)
    return figure


def _default_place(history: History) -> ToUnit:
    return lambda params: {n: scales.unit(d, params[n]) for n, d in history.space.items()}


def _inside(history: History, trial: FrozenTrial) -> bool:
    space = history.space.items()
    return all(n in trial.params and scales.holds(d, trial.params[n]) for n, d in space)


def _spots(
    trials: Sequence[FrozenTrial], names: Sequence[str], place: ToUnit
) -> tuple[list[float], list[float]]:
    spots = [place(trial.params) for trial in trials]
    second = [spot[names[1]] for spot in spots] if len(names) > 1 else [0.5] * len(spots)
    return [spot[names[0]] for spot in spots], second


def _outline(axes: Axes, cells: Sequence[CellBox], names: Sequence[str]) -> None:
    """Each distinct projected outline once: many cells share one, and thin lines stay thin."""
    boxes = sorted({tuple(_ends(cell, name) for name in names) for cell in cells})
    corners = [_corners(*box, *[(0.0, 1.0)] * (2 - len(box))) for box in boxes]
    thin: dict[str, Any] = {"linewidths": 0.9 if len(corners) < 300 else 0.4, "clip_on": False}
    axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors="#a9b4bf", **thin))


def _ends(cell: CellBox, name: str) -> tuple[float, float]:
    return round(cell.low.get(name, 0.0), 12), round(cell.high.get(name, 1.0), 12)


def _corners(x: tuple[float, float], y: tuple[float, float]) -> list[tuple[float, float]]:
    return [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]


def _label_axes(axes: Axes, history: History, names: Sequence[str], place: ToUnit) -> None:
    """Ticks at round parameter values, put where `place` puts them."""
    corner = {name: scales.ticks(d)[0][0] for name, d in history.space.items()}
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[])
    for axis, name in zip((axes.xaxis, axes.yaxis), names, strict=False):
        ticks = [
            (place(corner | {name: x}), text) for x, text in scales.ticks(history.space[name])
        ]
        marks = [(spot[name], text) for spot, text in ticks if spot]
        axis.set_ticks([at for at, _ in marks], [text for _, text in marks])
        axis.set_label_text(name + (" (log scale)" if scales.is_log(history.space[name]) else ""))
    axes.spines[:].set_visible(False)
