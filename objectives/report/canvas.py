"""The look that all figures share: palette, axes, panels, how a trial and its value are drawn."""

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
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import NullLocator
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from objectives.report import scales
from objectives.report.history import History
from objectives.report.history import value_of


INK, MUTED, GRID = "#1f2933", "#66727f", "#e8ecf0"
BLUE, PALE, SAND, ACCENT = "#2f6690", "#a3b8ca", "#e3b063", "#d1512d"
BY_VALUE = LinearSegmentedColormap.from_list("value", ["#bccddb", "#7ba3c2", BLUE, "#12344d"])
LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": 9,
    "labelcolor": INK,
    "handlelength": 1.3,
    "handletextpad": 0.5,
    "columnspacing": 1.4,
}
RING: dict[str, Any] = {"facecolor": "white", "edgecolor": MUTED, "linewidth": 0.9}
"""Of a pruned trial."""
CROSS: dict[str, Any] = {"marker": "x", "color": MUTED, "linewidth": 1.0}
"""Of a failed one."""

# Above this many marks they are stored as pixels: an SVG of ten thousand circles is slow to show.
MANY = 600


def blank(width: float, height: float) -> Figure:
    """An empty figure, `width` by `height` inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.09)  # type: ignore[union-attr, call-arg]
    return figure


def dress(axes: Axes, grid: bool = True) -> Axes:
    """Light grid below the marks, two thin spines, small grey tick labels."""
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c5ced6")
    axes.tick_params(labelsize=9, labelcolor=MUTED, color="#c5ced6", length=3)
    if grid:
        axes.grid(color=GRID, linewidth=0.8)
    return axes


def panels(
    names: Sequence[str], width: float, *, height: float = 2.5, most: int = 3
) -> tuple[Figure, dict[str, Axes]]:
    """Small multiples: as many columns as `width` (inches) has room for, `height` inches a row."""
    columns = max(1, min(len(names), most, int(width / 3.0)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = blank(width, 0.35 + height * rows)
    grid = figure.add_gridspec(rows, columns)
    cells = [grid[divmod(i, columns)] for i in range(len(names))]
    added = {n: dress(figure.add_subplot(c)) for n, c in zip(names, cells, strict=True)}
    return figure, added


def panel_title(axes: Axes, name: str, note: str = "") -> None:
    """The panel's name at the left; a grey note at the right."""
    look: dict[str, Any] = {"fontsize": 10, "parse_math": False, "pad": 7}
    axes.set_title(name, loc="left", color=INK, fontweight="bold", **look)
    axes.set_title(note, loc="right", color=MUTED, **(look | {"fontsize": 9}))


def outer_labels(added: Mapping[str, Axes], xlabel: str = "", ylabel: str = "") -> None:
    """One label per outer edge instead of one per panel."""
    for axes in added.values():
        place = axes.get_subplotspec()
        if place is None:
            continue
        columns = place.get_gridspec().ncols
        below = place.num1 + columns >= len(added)
        label(axes.xaxis, xlabel if below else "")
        label(axes.yaxis, ylabel if place.is_first_col() else "")


def label(axis: Any, text: str) -> None:
    """An axis label; a user's `$` in it is a dollar sign."""
    axis.set_label_text(text, parse_math=False, color=INK, fontsize=10)


def value_label(history: History, between: str = " ") -> str:
    better = "lower" if history.minimise else "higher"
    return f"{history.value_name}{between}({better} is better)"


def value_limits(axes: Axes, history: History) -> None:
    axes.set_ylim(*history.window.padded())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.ticklabel_format(axis="y", useOffset=False)
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
    axis = axes.xaxis if which == "x" else axes.yaxis
    ends = scales.limits(distribution)
    if scales.is_log(distribution):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(*ends)
    marks = scales.ticks(distribution)
    places = [scales.position(distribution, value) for value, _ in marks]
    axis.set_ticks(places, [text for _, text in marks], parse_math=False)
    axis.set_minor_locator(NullLocator())


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
    x: list[float],
    y: list[float],
    size: float = 0.0,
) -> None:
    """Complete trials, darker the better, the best ones on top; the best of all as a star.

    `size` is the area of a dot in square points; 0: what suits their number.
    """
    order = sorted(range(len(trials)), key=lambda i: -history.loss(trials[i]))
    colours = [history.window.clip(value_of(trials[i])) for i in order]
    axes.scatter(
        [x[i] for i in order],
        [y[i] for i in order],
        c=colours,
        cmap=colour_map(history),
        norm=Normalize(*history.shades),
        s=size or dot_size(len(trials)),
        linewidth=0.5,
        edgecolor="white",
        rasterized=len(trials) > MANY,
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
    return 40.0 if trials < 40 else 22.0 if trials < 1000 else 10.0


def colour_map(history: History) -> LinearSegmentedColormap:
    return BY_VALUE.reversed() if history.minimise else BY_VALUE


def value_bar(figure: Figure, around: Sequence[Axes], history: History) -> None:
    """The colour bar of the values: at the right of a wide figure, below a narrow one."""
    if not history.complete:
        return
    scale = ScalarMappable(Normalize(*history.shades), colour_map(history))
    wide = figure.get_figwidth() > 6
    side = "right" if wide else "bottom"
    beyond = "max" if history.minimise else "min"
    look: dict[str, Any] = {"aspect": 32, "shrink": 0.8, "pad": 0.02}
    bar = figure.colorbar(scale, ax=list(around), location=side, extend=beyond, **look)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, labelcolor=MUTED, length=0)
    bar.ax.ticklabel_format(useOffset=False)
    bar.locator = MaxNLocator(5)
    label(bar.ax.yaxis if wide else bar.ax.xaxis, value_label(history))
