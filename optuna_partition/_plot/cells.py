"""The cells of a study as plotly traces: outlines, intervals, the tree; reads a `View` only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

from optuna_partition._plot.axes import number
from optuna_partition._plot.axes import PlotAxis
from optuna_partition._plot.axes import text
from optuna_partition._plot.marks import go
from optuna_partition._plot.marks import HATCH
from optuna_partition._plot.marks import shade
from optuna_partition._plot.marks import value_of
from optuna_partition._plot.marks import View
from optuna_partition.inspection import CellInfo


__all__ = ["UNKNOWN", "boxes", "histogram", "intervals", "spots", "tree"]

Outline: TypeAlias = tuple[tuple[float, float], ...]

UNKNOWN = "cell without a value"
_STEPS = 24  # colours of cells; more are not told apart
_ROW = 0.92  # height of a cell in the tree, in depths
_LISTED = 8  # trials named in a cell's hover text
_LINES: dict[str, dict[str, Any]] = {
    "cell": {"color": shade(0.45), "width": 2.5},
    UNKNOWN: {"color": HATCH["fgcolor"], "width": 2.5, "dash": "dot"},
}


def _outlines(seen: View, axes: Sequence[PlotAxis]) -> dict[Outline, float | None]:
    """Projected cells with the best value of those that share an outline, the best last."""
    found: dict[Outline, float | None] = {}
    for cell in seen.cells:
        outline = tuple((a.at(cell.low[a.name]), a.at(cell.high[a.name])) for a in axes)
        if _rank(seen, cell.value) >= _rank(seen, found.get(outline)):
            found[outline] = cell.value
    return dict(sorted(found.items(), key=lambda item: _rank(seen, item[1])))


def _rank(seen: View, value: float | None) -> float:
    return -1.0 if value is None else seen.scale.rank(value)


def boxes(seen: View, axes: Sequence[PlotAxis]) -> list[go.Scatter]:
    """Cells as filled outlines on two parameters, a trace per colour, from worst to best."""
    outlines = _outlines(seen, axes)
    line = {"color": "white", "width": 1 if len(outlines) < 400 else 0.5}
    by_step: dict[int, list[Outline]] = {}
    for outline, value in outlines.items():
        by_step.setdefault(_step(seen, value), []).append(outline)
    if len(seen.axes) <= 2:  # then no cell lies on the outline of another
        return [_box(group, _fill(step) | {"line": line}) for step, group in by_step.items()]
    fills = [_box(group, _fill(step)) for step, group in by_step.items()]
    return [*fills, _box(list(outlines), {"line": line})]


def _step(seen: View, value: float | None) -> int:
    return -1 if value is None else round(seen.scale.rank(value) * _STEPS)


def _fill(step: int) -> dict[str, Any]:
    fill: dict[str, Any] = {"fill": "toself", "line": {"width": 0}}
    if step < 0:
        return {**fill, "fillpattern": HATCH, "name": UNKNOWN, "showlegend": True}
    return {**fill, "fillcolor": shade(step / _STEPS)}


def _box(outlines: Sequence[Outline], style: dict[str, Any]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for (left, right), (low, high) in outlines:
        x += [left, right, right, left, left, None]
        y += [low, low, high, high, low, None]
    style = {"showlegend": False, **style}
    return go.Scatter(x=x[:-1], y=y[:-1], mode="lines", hoverinfo="skip", **style)


def intervals(seen: View, axes: Sequence[PlotAxis]) -> list[go.Scatter]:
    """Cells on one parameter, at the height of their value, or the worse end if they have none."""
    traces = []
    for name, line in _LINES.items():
        x: list[float | None] = []
        y: list[float | None] = []
        for (interval,), value in _outlines(seen, axes).items():
            if (value is None) == (name == UNKNOWN):
                x += [*interval, None]
                y += [_height(seen, value)] * 2 + [None]
        style = {"mode": "lines", "line": line, "name": name, "hoverinfo": "skip"}
        traces += [go.Scatter(x=x[:-1], y=y[:-1], **style)] if x else []
    return traces


def _height(seen: View, value: float | None) -> float:
    low, high = seen.scale.window()
    if value is None:
        return high if seen.scale.minimise else low
    return min(max(value, low), high)


def spots(seen: View, axes: Sequence[PlotAxis]) -> dict[int, tuple[float, float]]:
    """Where trials lie; without a second parameter their value is the height."""
    found = {}
    for trial in seen.trials:
        if all(axis.name in trial.params for axis in axes):
            places = [axis.place(trial.params[axis.name]) for axis in axes]
            height = _height(seen, value_of(trial)) if len(axes) == 1 else places[1]
            found[trial.number] = (places[0], height)
    return found


def tree(seen: View) -> tuple[dict[int, tuple[float, float]], list[go.Bar]]:
    """Where the trials lie in the tree, and its cells as bars: those with a value, and others."""
    spans = _spans(seen)
    spots = {
        n: (sum(span) / 2, float(entry.cell.depth))
        for entry, span in zip(seen.tree, spans, strict=True)
        if not entry.opened
        for n in entry.cell.trials
    }
    known, unknown = (
        [i for i, entry in enumerate(seen.tree) if (entry.cell.value is None) == without]
        for without in (False, True)
    )
    bars = [_bars(seen, spans, known, "cell"), _bars(seen, spans, unknown, UNKNOWN)]
    return spots, [bar for bar in bars if len(bar.x)]


def _spans(seen: View) -> list[tuple[int, int]]:
    """First and last + 1 of the partition's cells below each cell of the tree."""
    spans = []
    closed = 0
    for entry in seen.tree:
        spans.append((closed, closed))
        closed += not entry.opened
    ends = [start + (not entry.opened) for (start, _), entry in zip(spans, seen.tree, strict=True)]
    for i in range(len(ends) - 1, 0, -1):
        parent = seen.tree[i].parent
        assert parent is not None
        ends[parent] = max(ends[parent], ends[i])
    return [(start, end) for (start, _), end in zip(spans, ends, strict=True)]


def _bars(
    seen: View, spans: Sequence[tuple[int, int]], chosen: Sequence[int], name: str
) -> go.Bar:
    cells = [seen.tree[i].cell for i in chosen]
    ranks = [seen.scale.rank(cell.value) for cell in cells if cell.value is not None]
    colour = {"color": ranks, "coloraxis": "coloraxis"} if ranks else {"pattern": HATCH}
    between = 1 if len(seen.cells) < 300 else 0
    return go.Bar(
        x=[sum(spans[i]) / 2 for i in chosen],
        width=[spans[i][1] - spans[i][0] for i in chosen],
        base=[cell.depth - 0.5 * _ROW for cell in cells],
        y=[_ROW] * len(cells),
        marker={"line": {"color": "white", "width": between}, **colour},
        hovertext=[_cell_text(seen, cell) for cell in cells],
        hoverinfo="text",
        name=name,
        showlegend=not ranks,
    )


def _cell_text(seen: View, cell: CellInfo) -> str:
    value = "no value yet" if cell.value is None else f"best value {number(cell.value, 6)}"
    listed = ", ".join(str(n) for n in cell.trials[:_LISTED])
    more = len(cell.trials) - _LISTED
    trials = f"trials {listed}" if cell.trials else "no trials"
    lines = [f"<b>depth {cell.depth}</b>, {value}"]
    lines.append(f"{trials} and {more} more" if more > 0 else trials)
    for axis in seen.axes:
        within = axis.bounds(cell.low[axis.name], cell.high[axis.name])
        lines.append(f"{text(axis.name)}: {within}")
    return "<br>".join(lines)


def histogram(seen: View) -> go.Bar:
    """How many cells of the partition each depth has."""
    counts = sorted(Counter(cell.depth for cell in seen.cells).items())
    return go.Bar(
        x=[count for _, count in counts],
        y=[depth for depth, _ in counts],
        orientation="h",
        xaxis="x2",
        marker={"color": shade(0.25)},
        text=[count for _, count in counts],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="depth %{y}: %{x} cells<extra></extra>",
        showlegend=False,
    )
