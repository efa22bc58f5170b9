"""The look that all figures share: palette, style, panels, how a trial and its value are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import NullLocator
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from objectives.report import scales
from objectives.report.history import History
from objectives.report.history import value_of


INK, MUTED, GRID, FRAME = "#1f2933", "#66727f", "#e8ecf0", "#c5ced6"
BLUE, PALE, SAND, ACCENT = "#2f6690", "#a3b8ca", "#e3b063", "#d1512d"
BY_VALUE = LinearSegmentedColormap.from_list("value", ["#bccddb", "#7ba3c2", BLUE, "#12344d"])
TICKS = {"color": FRAME, "labelcolor": MUTED, "labelsize": 9, "major.size": 3}
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a user's `$` is a dollar sign
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.edgecolor": FRAME,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlepad": 7,
    "axes.formatter.useoffset": False,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in TICKS.items()},
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
    "legend.handlelength": 1.3,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
}
"""For `matplotlib.rc_context`, around all that draws and saves a figure."""
ROOM: dict[str, Any] = {"w_pad": 0.06, "h_pad": 0.06, "wspace": 0.03, "hspace": 0.09}
"""Around panels, in inches, and between them, as shares of their sizes."""
RING: dict[str, Any] = {"facecolor": "white", "edgecolor": MUTED, "linewidth": 0.9}
"""Of a pruned trial."""
CROSS: dict[str, Any] = {"marker": "x", "color": MUTED, "linewidth": 1.0}
"""Of a failed one."""


def laid_out(figure: Figure) -> Figure:
    """The figure, its panels placed once; a layout engine of its own would at every saving."""
    ConstrainedLayoutEngine(**ROOM).execute(figure)
    return figure


def panels(
    names: Sequence[str], width: float, *, height: float = 2.5
) -> tuple[Figure, dict[str, Axes]]:
    """Small multiples: as many columns as `width` (inches) has room for, `height` inches a row."""
    columns = max(1, min(len(names), 3, int(width / 3.0)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(width, 0.35 + height * rows))
    return figure, {n: figure.add_subplot(rows, columns, i) for i, n in enumerate(names, start=1)}


def panel_title(axes: Axes, name: str, note: str = "") -> None:
    """The panel's name at the left; a grey note at the right."""
    axes.set_title(name, loc="left", color=INK, fontweight="bold")
    axes.set_title(note, loc="right", color=MUTED, fontsize=9)


def outer_labels(added: Mapping[str, Axes], xlabel: str = "", ylabel: str = "") -> None:
    """One label per outer edge instead of one per panel."""
    for axes in added.values():
        place = axes.get_subplotspec()
        assert place is not None
        if place.num1 + place.get_gridspec().ncols >= len(added):
            axes.set_xlabel(xlabel)
        if place.is_first_col():
            axes.set_ylabel(ylabel)


def value_label(history: History, between: str = " ") -> str:
    better = "lower" if history.minimise else "higher"
    return f"{history.value_name}{between}({better} is better)"


def value_limits(axes: Axes, history: History) -> None:
    axes.set_ylim(*history.window.padded())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if not history.complete:
        axes.set_yticks([])


def trial_axis(axes: Axes, history: History) -> None:
    """Whole trial numbers, with some room at both ends."""
    first, last = history.trials[0].number, history.trials[-1].number
    room = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def parameter_axis(axes: Axes, which: Literal["x", "y"], distribution: BaseDistribution) -> None:
    """Scale, limits and ticks of a parameter on the axis `which`."""
    marks = scales.ticks(distribution)
    settings = {
        f"{which}scale": "log" if scales.is_log(distribution) else "linear",
        f"{which}lim": scales.limits(distribution),
        f"{which}ticks": [scales.position(distribution, value) for value, _ in marks],
        f"{which}ticklabels": [text for _, text in marks],
    }
    axes.set(**settings)
    (axes.xaxis if which == "x" else axes.yaxis).set_minor_locator(NullLocator())


def jittered(distribution: BaseDistribution, trial: FrozenTrial, name: str) -> float:
    """Where the trial is drawn; categories spread a little so that equal points stay visible."""
    at = scales.position(distribution, trial.params[name])
    if isinstance(distribution, CategoricalDistribution):
        golden = (trial.number * 0.6180339887) % 1.0  # even for any number of trials
        return at + 0.36 * (golden - 0.5)
    return at


def coloured(
    axes: Axes,
    history: History,
    trials: Sequence[FrozenTrial],
    x: Sequence[float],
    y: Sequence[float],
    size: float,
) -> None:
    """Complete trials, darker the better, the best ones on top; the best of all as a star."""
    order = sorted(range(len(trials)), key=lambda i: -history.loss(trials[i]))
    axes.scatter(
        [x[i] for i in order],
        [y[i] for i in order],
        c=[history.window.clip(value_of(trials[i])) for i in order],
        cmap=colour_map(history),
        norm=Normalize(*history.shades),
        s=size,
        linewidth=0.5,
        edgecolor="white",
        zorder=3,
    )
    star_best(axes, history, trials, x, y)


def star_best(
    axes: Axes,
    history: History,
    trials: Sequence[FrozenTrial],
    x: Sequence[float],
    y: Sequence[float],
) -> None:
    """The best trial as a star, where it is among `trials`."""
    for trial, *at in zip(trials, x, y, strict=True):
        if trial is history.best:
            look: dict[str, Any] = {"marker": "*", "s": 150, "color": ACCENT, "edgecolor": "white"}
            axes.scatter(*at, linewidth=0.8, zorder=5, clip_on=False, **look)


def dot_size(trials: int) -> float:
    """Area of a dot in square points: smaller the more there are."""
    return 40.0 if trials < 40 else 22.0


def colour_map(history: History) -> LinearSegmentedColormap:
    return BY_VALUE.reversed() if history.minimise else BY_VALUE


def value_bar(figure: Figure, around: Sequence[Axes], history: History) -> None:
    """The colour bar of the values: at the right of a wide figure, below a narrow one."""
    if not history.complete:
        return
    bar = figure.colorbar(
        ScalarMappable(Normalize(*history.shades), colour_map(history)),
        ax=list(around),
        location="right" if figure.get_figwidth() > 6 else "bottom",
        extend="max" if history.minimise else "min",
        ticks=MaxNLocator(5),
        label=value_label(history),
        aspect=32,
        shrink=0.8,
        pad=0.02,
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
