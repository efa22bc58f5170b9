"""Figures of a partition, as `optuna.visualization` makes them: reads a study, returns plotly."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._plot import cells
from optuna_partition._plot import marks
from optuna_partition._plot.axes import number
from optuna_partition._plot.axes import PlotAxis
from optuna_partition._plot.marks import go
from optuna_partition._plot.marks import View


__all__ = ["plot_depths", "plot_partition", "plot_tree", "show_in_dashboard"]


def plot_partition(study: Study, params: Sequence[str] | None = None) -> go.Figure:
    """Draws the cells and the trials, projected on two parameters or on one.

    With two parameters a cell is its outline, in the colour of the best value inside; where the
    cells of a space of more parameters lie on top of each other, the best is on top. With one it
    is an interval at the height of its value.

    Args:
        study: A study with trials of a partition sampler.
        params: One or two parameters of its search space, horizontal and vertical. By default
            the two whose axes are cut in most places, because there is most to see; the earlier
            ones on ties.

    Returns:
        The figure. Axes are in the parameters' own units, logarithmic where the parameter is.

    Raises:
        ValueError: There is no such trial or no such parameter.

    Example:
        >>> import optuna
        >>> from optuna_partition import SOOSampler
        >>> from optuna_partition.visualization import plot_partition
        >>> study = optuna.create_study(sampler=SOOSampler())
        >>> study.optimize(lambda trial: trial.suggest_float("x", -4, 5) ** 2, n_trials=20)
        >>> figure = plot_partition(study)
    """
    seen = marks.view(study)
    axes = _chosen(seen, params)
    shapes = cells.intervals if len(axes) == 1 else cells.boxes
    spots = cells.spots(seen, axes)
    points = marks.marks(seen, spots, _depth_of(seen.depths()))
    drawn = marks.figure([*shapes(seen, axes), *points], seen, "Partition", _subtitle(seen, axes))
    drawn.update_xaxes(_bare(axes[0]))
    if len(axes) == 2:
        drawn.update_yaxes(_bare(axes[1]))
    else:
        drawn.update_yaxes(title_text=seen.scale.label, zeroline=False)
        drawn.update_layout(coloraxis_showscale=False)
    return drawn


def plot_tree(study: Study) -> go.Figure:
    """Draws the tree of cells: each above the parts it was cut in, coarse ones at the top.

    A cell is a bar in the colour of the best value inside, so that a dark stripe leads down to
    the best trial. The cells of the partition are equally wide, whatever their size, which gives
    the room to where the search went deep.

    Args:
        study: A study with trials of a partition sampler.

    Returns:
        The figure; a cell's bounds, value and trials are in its hover text.

    Raises:
        ValueError: There is no such trial.
    """
    seen = marks.view(study)
    spots, bars = cells.tree(seen)
    best = [mark for mark in marks.marks(seen, spots) if mark.name == "best"]
    drawn = marks.figure([*bars, *best], seen, "Tree", _subtitle(seen))
    deepest = max(entry.cell.depth for entry in seen.tree)
    drawn.update_layout(barmode="overlay", bargap=0)
    drawn.update_xaxes(title_text="cells from left to right", range=[0, len(seen.cells)])
    drawn.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    drawn.update_yaxes(title_text="depth", range=[deepest + 0.6, -0.6], **_whole(deepest))
    return drawn


def plot_depths(study: Study) -> go.Figure:
    """Draws how deep a cell each trial evaluated, and how many cells each depth has now.

    A trial at no cell's centre, an enqueued one for example, has the depth of the cell around it.

    Args:
        study: A study with trials of a partition sampler.

    Returns:
        The figure, with depth over trial number at the left and cells per depth at the right.

    Raises:
        ValueError: There is no such trial.
    """
    seen = marks.view(study)
    evaluated = {n: entry.cell.depth for entry in seen.tree for n in entry.evaluated}
    depths = seen.depths() | evaluated
    spots = {n: (float(n), float(depth)) for n, depth in depths.items()}
    points = marks.marks(seen, spots, _depth_of(depths))
    counts = cells.histogram(seen)
    drawn = marks.figure([*points, counts], seen, "Depths", _subtitle(seen))
    deepest = max(entry.cell.depth for entry in seen.tree)
    drawn.update_layout(
        xaxis={"title": {"text": "trial"}, "domain": [0, 0.74], "zeroline": False},
        xaxis2={"title": {"text": "cells now"}, "domain": [0.78, 1], "rangemode": "tozero"},
        yaxis={"title": {"text": "depth"}, "range": [-0.7, deepest + 0.7], **_whole(deepest)},
    )
    return drawn


def show_in_dashboard(study: Study) -> None:
    """Stores the three figures in a study, for those who watch it in optuna-dashboard.

    They show the study as it is now; call it again to bring them up to date, for example once in
    a hundred trials from a callback of `study.optimize`.

    Args:
        study: A study with trials of a partition sampler.

    Raises:
        ImportError: optuna-dashboard is not installed.
        ValueError: There is no such trial.
    """
    try:
        from optuna_dashboard import save_plotly_graph_object
    except ImportError as error:
        raise ImportError(
            "`show_in_dashboard` needs optuna-dashboard, which is not installed; "
            'pip install "optuna-partition[dashboard]"'
        ) from error
    for name, plot in _FIGURES.items():
        save_plotly_graph_object(study, plot(study), graph_object_id=name)


_FIGURES = {"partition": plot_partition, "tree": plot_tree, "depths": plot_depths}


def _chosen(seen: View, params: Sequence[str] | None) -> list[PlotAxis]:
    """The parameters to draw."""
    names = {axis.name: axis for axis in seen.axes}
    if params is None:
        places = {name: len({c.low[name] for c in seen.cells}) for name in names}
        most = sorted(names, key=lambda name: -places[name])[:2]
        return [axis for name, axis in names.items() if name in most]
    given = [params] if isinstance(params, str) else list(params)
    if not 1 <= len(set(given)) == len(given) <= 2 or not set(given) <= set(names):
        raise ValueError(
            "`params` must be one or two different parameters of the search space, but got "
            f"(params={given}); choose from {list(names)}."
        )
    return [names[name] for name in given]


def _bare(axis: PlotAxis) -> dict[str, Any]:
    return {"showgrid": False, "zeroline": False, "ticks": "outside", **axis.layout()}


def _whole(deepest: int) -> dict[str, Any]:
    """Ticks at whole depths, some ten of them."""
    return {"zeroline": False, "showgrid": True, "tick0": 0, "dtick": max(1, -(-deepest // 12))}


def _depth_of(depths: Mapping[int, int]) -> Callable[[FrozenTrial], str]:
    """Trial -> its line in a hover text."""
    return lambda trial: f"depth {depths[trial.number]}" if trial.number in depths else ""


def _subtitle(seen: View, axes: Sequence[PlotAxis] = ()) -> str:
    parts = [f"{_count(len(seen.trials), 'trial')}, {_count(len(seen.cells), 'cell')}"]
    if 0 < len(axes) < len(seen.axes):
        parts[0] += f" of {len(seen.axes)} parameters, the best on top"
    best = next((trial for trial in seen.trials if trial.number == seen.best), None)
    if best is not None and best.value is not None:
        parts.append(f"best {number(best.value)} in trial {best.number}")
    if seen.elsewhere:
        parts.append(f"{_count(seen.elsewhere, 'trial')} outside the space not shown")
    return "; ".join(parts)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
