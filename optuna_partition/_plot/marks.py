"""A study as its figures see it, and the marks of its trials; reads through `inspection` only."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


try:
    import plotly.graph_objects as go
except ImportError as error:
    raise ImportError(
        "`optuna_partition.visualization` draws with plotly, which is not installed; "
        'pip install "optuna-partition[plot]"'
    ) from error

from optuna_partition._plot.axes import number
from optuna_partition._plot.axes import PlotAxis
from optuna_partition._plot.axes import Scale
from optuna_partition._plot.axes import text
from optuna_partition.inspection import CellInfo
from optuna_partition.inspection import is_feasible
from optuna_partition.inspection import search_space
from optuna_partition.inspection import tree
from optuna_partition.inspection import TreeCell
from optuna_partition.inspection import unit


__all__ = ["HATCH", "View", "figure", "go", "marks", "shade", "value_of", "view"]

_INK, _MUTED, _ACCENT = "#1f2933", "#66727f", "#d1512d"
_SHADES = (  # rank -> red, green, blue; closest where cells are largest, among the worst
    (0.0, (241, 237, 224)),
    (0.1, (188, 211, 207)),
    (0.3, (115, 171, 186)),
    (0.55, (54, 122, 159)),
    (0.8, (31, 75, 122)),
    (1.0, (20, 37, 74)),
)
_RINGED = {"line": {"color": "white", "width": 1}}
_HOLLOW = {"color": "white", "line": {"color": _INK, "width": 1.2}}
_MARKS: dict[str, dict[str, Any]] = {  # kind of trial -> marker; the last is on top
    "failed": {"symbol": "x", "color": _INK, **_RINGED},
    "infeasible": {"symbol": "diamond", **_HOLLOW},
    "pruned without a value": {"symbol": "triangle-down", **_HOLLOW},
    "running": {"symbol": "circle", **_HOLLOW},
    "pruned, with its last value": {"symbol": "triangle-down", **_RINGED},
    "complete": {"symbol": "circle", **_RINGED},
    "best": {"symbol": "star", "color": _ACCENT, **_RINGED},
}
_SIZES = ((40, 10), (300, 8), (600, 6))  # up to so many trials, so many pixels
_BELOW = {"orientation": "h", "x": 0, "y": 0.01, "yanchor": "bottom", "yref": "container"}
_PALE = 0.15  # ranks up to here
_LARGER = {"circle": 0, "x": 2, "diamond": 2, "triangle-down": 2, "star": 8}

HATCH: dict[str, Any] = {
    "shape": "/",
    "size": 6,
    "solidity": 0.25,
    "fgcolor": "#9aa5b1",
    "bgcolor": "white",
}
"""The pattern of a cell without a value."""


@dataclass(frozen=True)
class View:
    """What the figures draw of a study.

    Args:
        tree: All cells, as `inspection.tree` gives them.
        axes: The parameters they are cut on.
        trials: The trials whose parameters lie in the space, and those in flight.
        elsewhere: How many of the study's trials are left out because they do not.
        scale: Their values.
        best: Number of the best trial, if there is one.
    """

    tree: Sequence[TreeCell]
    axes: Sequence[PlotAxis]
    trials: Sequence[FrozenTrial]
    elsewhere: int
    scale: Scale
    best: int | None

    @property
    def cells(self) -> list[CellInfo]:
        """The partition."""
        return [entry.cell for entry in self.tree if not entry.opened]

    def depths(self) -> dict[int, int]:
        """Trial -> depth of the cell it lies in."""
        return {number: cell.depth for cell in self.cells for number in cell.trials}


def view(study: Study) -> View:
    """Reads a study.

    Raises:
        ValueError: No trial is from a partition sampler.
    """
    found = tree(study)
    trials = study.get_trials(deepcopy=False)  # after it: a study may be running
    if not found:
        raise ValueError(
            "`study` must have a trial of a partition sampler with its parameters, but got "
            f"(study={study.study_name!r}) with {len(trials)} trials and none of that kind; run "
            "study.optimize with sampler=SOOSampler() first."
        )
    space = search_space(study)
    held = found[0].cell.trials  # those in flight may not have their parameters yet
    shown = [t for t in trials if t.number in held or unit(space, t.params) is not None]
    minimise = study.direction == StudyDirection.MINIMIZE
    complete = [t for t in trials if t.state is TrialState.COMPLETE and is_feasible(t)]
    values = (value for trial in shown if (value := value_of(trial)) is not None)
    return View(
        tree=found,
        axes=[PlotAxis(name, distribution) for name, distribution in space.items()],
        trials=shown,
        elsewhere=sum(t.state.is_finished() for t in trials)
        - sum(t.state.is_finished() for t in shown),
        scale=Scale.of(values, minimise),
        best=study.best_trial.number if complete else None,
    )


def value_of(trial: FrozenTrial) -> float | None:
    """A feasible trial's value; a pruned one's is the last it reported."""
    return _measured(trial) if is_feasible(trial) else None


def _measured(trial: FrozenTrial) -> float | None:
    value = trial.value if trial.state is TrialState.COMPLETE else None
    if trial.state is TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return None if value is None or math.isnan(value) else value


def figure(traces: Sequence[Any], seen: View, title: str, subtitle: str) -> go.Figure:
    """The traces on white, with the scale of values at the right and the legend below."""
    return go.Figure(
        data=list(traces),
        layout={
            "template": "plotly_white",
            "font": {"color": _INK},
            "title": {"text": title, "subtitle": {"text": subtitle, "font": {"color": _MUTED}}},
            "margin": {"l": 70, "r": 20, "t": 90, "b": 90},
            "legend": _BELOW,
            "coloraxis": _coloraxis(seen.scale),
            "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"color": _INK}},
        },
    )


def shade(rank: float) -> str:
    """The colour of a rank, 0..1."""
    (low, start), (high, end) = next(
        pair for pair in zip(_SHADES, _SHADES[1:], strict=False) if rank <= pair[1][0]
    )
    share = (rank - low) / (high - low)
    mixed = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return "#" + "".join(f"{round(c):02x}" for c in mixed)


def marks(
    seen: View,
    spots: Mapping[int, tuple[float, float]],
    note: Callable[[FrozenTrial], str] = lambda _: "",
) -> list[go.Scatter]:
    """The trials at their spots, one trace per kind, the best ones on top, the best a star.

    Args:
        seen: The study.
        spots: Trial -> x and y; one without is not drawn.
        note: What its hover text says besides number, value and parameters.
    """
    drawn = [trial for trial in seen.trials if trial.number in spots]
    drawn.sort(key=lambda trial: _rank(seen, trial))
    size = next((size for most, size in _SIZES if len(drawn) <= most), 5)
    traces: list[go.Scatter] = []
    for kind, marker in _MARKS.items():
        group = [trial for trial in drawn if kind in _kinds(seen, trial)]
        colour = {} if "color" in marker else _by_rank(seen, group)
        trace = go.Scatter(
            x=[spots[trial.number][0] for trial in group],
            y=[spots[trial.number][1] for trial in group],
            mode="markers",
            name=kind,
            marker={"size": size + _LARGER[marker["symbol"]], **marker, **colour},
            hovertext=[_hover(trial, note(trial)) for trial in group],
            hoverinfo="text",
            cliponaxis=False,
        )
        traces += [trace] if group else []
    return traces


def _by_rank(seen: View, group: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Colours by rank, with rings that stand out from a cell of the same colour."""
    ranks = [_rank(seen, trial) for trial in group]
    rings = ["white" if rank > _PALE else _MUTED for rank in ranks]
    width = 1 if len(group) <= 600 else 0.6
    return {"color": ranks, "coloraxis": "coloraxis", "line": {"color": rings, "width": width}}


def _kinds(seen: View, trial: FrozenTrial) -> set[str]:
    """The traces a trial is in: the best is complete as well."""
    if trial.state is TrialState.FAIL:
        return {"failed"}
    if not is_feasible(trial) and trial.state.is_finished():
        return {"infeasible"}
    if trial.state is TrialState.PRUNED:
        valued = value_of(trial) is not None
        return {"pruned, with its last value" if valued else "pruned without a value"}
    kind = trial.state.name.lower()
    return {kind, "best"} if trial.number == seen.best else {kind}


def _rank(seen: View, trial: FrozenTrial) -> float:
    value = value_of(trial)
    return -1.0 if value is None else seen.scale.rank(value)


def _hover(trial: FrozenTrial, note: str) -> str:
    value = _measured(trial)
    word = "last value" if trial.state is TrialState.PRUNED else "value"
    lines = [f"<b>trial {trial.number}</b>, {trial.state.name.lower()}"]
    lines += [f"{word} {number(value, 6)}"] if value is not None else []
    violated = {name: x for name, x in trial.constraints.items() if not x <= 0}
    lines += [f"violates {text(name)}: {number(x, 3)}" for name, x in violated.items()]
    lines += [note] if note else []
    lines += [f"{text(name)} = {text(v)}" for name, v in trial.params.items()]
    return "<br>".join(lines)


def _coloraxis(scale: Scale) -> dict[str, Any]:
    ticks = scale.ticks()
    return {
        "colorscale": [[rank, shade(rank)] for rank, _ in _SHADES],
        "cmin": 0,
        "cmax": 1,
        "showscale": bool(ticks),
        "colorbar": {
            "title": {"text": f"{scale.label}, by rank", "side": "right"},
            "tickvals": [rank for rank, _ in ticks],
            "ticktext": [value for _, value in ticks],
            "thickness": 14,
            "outlinewidth": 0,
        },
    }
