"""The report's figures of trials, times and final scores: plain data in, Matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.report import canvas
from objectives.report import scales
from objectives.report.canvas import ACCENT
from objectives.report.canvas import BLUE
from objectives.report.canvas import MUTED
from objectives.report.canvas import PALE
from objectives.report.canvas import SAND
from objectives.report.given import FinalRow
from objectives.report.history import duration
from objectives.report.history import History
from objectives.report.history import parts
from objectives.report.history import value_of


__all__ = ["final_scores", "parameters_by_trial", "parameters_by_value", "progress"]
__all__ += ["times"]

PART_COLOURS = {"set-up": PALE, "training": BLUE, "scoring": SAND, "other": "#dfe4e8"}


# -- value against trial -------------------------------------------------------------------------


def progress(history: History, width: float = 10.0) -> Figure:
    """Every value against the trial number, with the running best; `width` is in inches."""
    figure = Figure(figsize=(width, min(4.2, 0.75 * width)))
    axes = figure.add_subplot()
    _mark_trials(axes, history)
    _mark_running_best(axes, history)
    axes.set(xlabel="trial", ylabel=canvas.value_label(history))
    canvas.value_limits(axes, history)
    canvas.trial_axis(axes, history)
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    columns = 5 if figure.get_figwidth() > 6 else 3
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=columns)


def _mark_trials(axes: Axes, history: History) -> None:
    """All that have ended; those without a value that is shown at the edge."""
    window = history.window
    shown = [t for t in history.complete if window.shows(value_of(t))]
    beyond = [t for t in history.complete if not window.shows(value_of(t))]
    pruned, failed = history.that_are(TrialState.PRUNED), history.that_are(TrialState.FAIL)
    size, off = canvas.dot_size(len(history.trials)), "^" if history.minimise else "v"
    for trials, label, look in (
        (shown, history.value_name, {"color": PALE, "s": size}),
        (beyond, "off the scale", {"marker": off, "color": PALE, "s": 30}),
        (pruned, "pruned", canvas.RING | {"s": 20}),
        (failed, "failed", canvas.CROSS | {"color": ACCENT, "s": 24}),
    ):
        _marks(axes, trials, [window.clip(value_of(t)) for t in trials], label=label, **look)


def _marks(axes: Axes, trials: Sequence[FrozenTrial], y: Sequence[float], **look: Any) -> None:
    if trials:
        axes.scatter([t.number for t in trials], y, zorder=3, **look)


def _mark_running_best(axes: Axes, history: History) -> None:
    bests = [(n, v) for n, v in history.running_best() if history.window.shows(v)]
    if bests and history.best:
        numbers, values = zip(*bests, (history.trials[-1].number, bests[-1][1]), strict=True)
        text = f"best so far: {scales.number(values[-1])} (trial {history.best.number})"
        axes.step(numbers, values, where="post", color=BLUE, lw=2, zorder=4, label=text)
    if history.best:
        at = [history.best.number], [history.window.clip(value_of(history.best))]
        canvas.star_best(axes, history, [history.best], *at)


# -- parameters ----------------------------------------------------------------------------------


def parameters_by_value(
    history: History, shares: Mapping[str, float], width: float = 10.0
) -> Figure:
    """Every parameter against the value, one panel each, in the order of `shares`."""
    figure, panels = canvas.panels(list(shares), width)
    for name, axes in panels.items():
        canvas.panel_title(axes, name, _explained(history, name, shares[name]))
        pruned = history.placed(name, history.that_are(TrialState.PRUNED))
        _against_value(axes, history, name, pruned, **canvas.RING)
        trials = history.placed(name, history.complete)
        look: dict[str, Any] = {"color": BLUE, "alpha": 0.55, "linewidth": 0}
        spots = _against_value(axes, history, name, trials, **look)
        canvas.star_best(axes, history, trials, *spots)
        canvas.parameter_axis(axes, "x", history.space[name])
        canvas.value_limits(axes, history)
    canvas.outer_labels(panels, ylabel=canvas.value_label(history, between="\n"))
    return figure


def _explained(history: History, name: str, share: float) -> str:
    """What is known of the parameter's importance; nothing where too few trials can tell."""
    if not history.varies(name):
        return "did not vary"
    if share < 0.005:
        return "explains < 1%" if share else ""
    return f"explains {share:.0%}"


def _against_value(
    axes: Axes, history: History, name: str, trials: Sequence[FrozenTrial], **look: Any
) -> tuple[list[float], list[float]]:
    """Dots; where they are."""
    x = [canvas.jittered(history.space[name], t, name) for t in trials]
    y = [history.window.clip(value_of(t)) for t in trials]
    axes.scatter(x, y, s=canvas.dot_size(len(x)), zorder=3, **look)
    return x, y


def parameters_by_trial(
    history: History, shares: Mapping[str, float], width: float = 10.0
) -> Figure:
    """Every parameter against the trial number, coloured by value; failed and pruned ones too."""
    figure, panels = canvas.panels(list(shares), width)
    for name, axes in panels.items():
        canvas.panel_title(axes, name)
        trials = history.placed(name, history.complete)
        y = [canvas.jittered(history.space[name], t, name) for t in trials]
        numbers, size = [t.number for t in trials], canvas.dot_size(len(trials))
        canvas.coloured(axes, history, trials, numbers, y, size)
        for state, look in ((TrialState.FAIL, canvas.CROSS), (TrialState.PRUNED, canvas.RING)):
            lost = history.placed(name, history.that_are(state))
            heights = [canvas.jittered(history.space[name], t, name) for t in lost]
            _marks(axes, lost, heights, s=18, **look)
        canvas.parameter_axis(axes, "y", history.space[name])
        canvas.trial_axis(axes, history)
    canvas.outer_labels(panels, xlabel="trial")
    canvas.value_bar(figure, list(panels.values()), history)
    return figure


# -- time, final test ----------------------------------------------------------------------------


def times(history: History, width: float = 10.0) -> Figure:
    """Time of each trial that has ended, stacked by part: set-up, training, scoring, other."""
    figure = Figure(figsize=(width, min(3.4, 0.7 * width)))
    axes = figure.add_subplot()
    ended = [t for t in history.trials if duration(t) > 0]
    divisor, word = _time_unit(max((sum(parts(t).values()) for t in ended), default=0.0))
    base = np.zeros(len(ended))
    for name, colour in PART_COLOURS.items():
        heights = np.array([parts(t)[name] for t in ended]) / divisor
        if heights.sum() > 0.01 * history.seconds() / divisor:
            axes.bar([t.number for t in ended], heights, bottom=base, color=colour, label=name)
            base = base + heights
    axes.set(xlabel="trial", ylabel=f"time per trial ({word})")
    canvas.trial_axis(axes, history)
    _legend(figure, axes)
    return figure


def _time_unit(longest: float) -> tuple[float, str]:
    if longest < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if longest < 180 * 60 else (3600.0, "hours")


def final_scores(rows: Sequence[FinalRow], width: float = 10.0) -> Figure:
    """Score and one standard error of every row on every test task; the base as a dashed line."""
    tasks = list(dict.fromkeys(task for row in rows for task in row.scores))
    figure, panels = canvas.panels(tasks, width, height=0.8 + 0.3 * len(rows))
    for task, axes in panels.items():
        title = next(row.heading(task) for row in rows if task in row.scores)
        canvas.panel_title(axes, title)
        for y, row in enumerate(rows):
            if task in row.scores and math.isfinite(row.scores[task][0]):
                _score(axes, y, row.name, *row.scores[task])
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    canvas.outer_labels(panels, xlabel="score ± standard error")
    return figure


def _score(axes: Axes, y: int, name: str, score: float, error: float) -> None:
    colour = BLUE if name.startswith("trial") else MUTED
    width = error if math.isfinite(error) else 0.0
    if name == "base":
        axes.axvline(score, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    axes.errorbar(score, y, xerr=width, fmt="o", ms=6, color=colour, lw=1.6, zorder=3)
