"""The figure of the cells: each is drawn once where it lies, each trial where it was."""

from __future__ import annotations

from collections import Counter
import math
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
import plotly.graph_objects as go
from plotting import MIXED
from plotting import named
from plotting import run
from plotting import valley
import pytest

from optuna_partition import SOOSampler
from optuna_partition._plot.axes import number
from optuna_partition._plot.axes import PlotAxis
from optuna_partition._plot.axes import Scale
from optuna_partition.inspection import cells
from optuna_partition.visualization import plot_depths
from optuna_partition.visualization import plot_partition


@pytest.fixture(scope="module")
def smooth() -> optuna.Study:
    return run(valley, 60)


def outlines(figure: go.Figure) -> list[tuple[float, float, float, float]]:
    """Left, right, low, high of the filled outlines, in the order they are drawn."""
    found = []
    for trace in figure.data:
        if trace.fill == "toself":
            for i in range(0, len(trace.x), 6):
                x, y = trace.x[i : i + 5], trace.y[i : i + 5]
                assert x == (x[0], x[1], x[1], x[0], x[0]) and y == (y[0], y[0], y[2], y[2], y[0])
                found.append((x[0], x[1], y[0], y[2]))
    return found


def test_each_cell_is_drawn_once_where_it_lies(smooth: optuna.Study) -> None:
    drawn = outlines(plot_partition(smooth))
    expected = [
        (15 * c.low["x"] - 5, 15 * c.high["x"] - 5, 15 * c.low["y"], 15 * c.high["y"])
        for c in cells(smooth)
    ]
    assert sorted(drawn) == [pytest.approx(box) for box in sorted(expected)]
    assert sum((r - a) * (h - b) for a, r, b, h in drawn) == pytest.approx(15 * 15)


def test_points_lie_at_the_parameters_and_are_coloured_by_rank(smooth: optuna.Study) -> None:
    points = named(plot_partition(smooth), "complete")
    order = sorted(smooth.trials, key=lambda t: -t.value)
    assert list(points.marker.color) == sorted(points.marker.color)
    assert sorted(zip(points.x, points.y, strict=True)) == sorted(
        (t.params["x"], t.params["y"]) for t in order
    )
    distinct = sorted({t.value for t in order}, reverse=True)
    worst, best = (points.x[0], points.y[0]), (points.x[-1], points.y[-1])
    assert worst == tuple(order[0].params.values()) and best == tuple(order[-1].params.values())
    middle = len(order) // 2
    rank = distinct.index(
        valley(optuna.trial.FixedTrial({"x": points.x[middle], "y": points.y[middle]}))
    ) / (len(distinct) - 1)
    assert points.marker.color[middle] == pytest.approx(rank)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_is_marked_and_drawn_last(direction: str) -> None:
    study = run(valley, 30, direction=direction)
    star = plot_partition(study).data[-1]
    assert star.name == "best" and star.marker.symbol == "star"
    assert (star.x[0], star.y[0]) == tuple(study.best_params.values())
    assert plot_partition(study).layout.coloraxis.colorbar.ticktext[-1] == number(study.best_value)


def test_hover_text_has_number_value_depth_and_parameters(smooth: optuna.Study) -> None:
    best = smooth.best_trial
    depth = next(c.depth for c in cells(smooth) if best.number in c.trials)
    text = named(plot_partition(smooth), "best").hovertext[0].split("<br>")
    assert text == [
        f"<b>trial {best.number}</b>, complete",
        f"value {number(best.value, 6)}",
        f"depth {depth}",
        f"x = {number(best.params['x'])}",
        f"y = {number(best.params['y'])}",
    ]


@pytest.mark.parametrize("params", [["rate", "rank"], ["kind", "drop"], ["width", "kind"]])
def test_projected_cells_cover_both_axes_in_their_own_units(
    mixed_study: optuna.Study, params: list[str]
) -> None:
    ends = {
        "rate": (1e-5, 1e-2),
        "rank": (3.5, 64.5),
        "kind": (-0.5, 2.5),
        "drop": (-0.05, 0.55),
        "width": (1, 41),
    }
    figure = plot_partition(mixed_study, params)
    drawn = outlines(figure)
    for axis, name, low, high in (
        (figure.layout.xaxis, params[0], 0, 1),
        (figure.layout.yaxis, params[1], 2, 3),
    ):
        assert min(box[low] for box in drawn) == pytest.approx(ends[name][0])
        assert max(box[high] for box in drawn) == pytest.approx(ends[name][1])
        log = name in ("rate", "rank")
        assert axis.type == ("log" if log else "linear")
        shown = tuple(math.log10(end) for end in ends[name]) if log else ends[name]
        assert axis.range == pytest.approx(shown)
        edges = {(c.low[name], c.high[name]) for c in cells(mixed_study)}
        assert {(box[low], box[high]) for box in drawn} >= {
            (PlotAxis(name, MIXED[name]).at(a), PlotAxis(name, MIXED[name]).at(b))
            for a, b in edges
        }


def test_ticks_are_values_and_names(mixed_study: optuna.Study) -> None:
    figure = plot_partition(mixed_study, ["kind", "rank"])
    assert figure.layout.xaxis.ticktext == ("a&lt;b", "None", "True")
    assert figure.layout.xaxis.tickvals == (0, 1, 2)
    assert figure.layout.yaxis.tickvals == (4, 8, 16, 32, 64)
    assert plot_partition(mixed_study, ["drop"]).layout.xaxis.ticktext == tuple(
        ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    )


def test_where_cells_overlap_the_best_is_on_top(mixed_study: optuna.Study) -> None:
    best: dict[tuple[float, ...], float] = {}
    for cell in cells(mixed_study):
        if cell.value is not None:
            low, high = cell.low, cell.high
            box = (low["kind"], high["kind"], low["rank"], high["rank"])
            best[box] = max(best.get(box, -math.inf), cell.value)
    kind, rank = (PlotAxis(name, MIXED[name]) for name in ("kind", "rank"))
    drawn = outlines(plot_partition(mixed_study, ["kind", "rank"]))
    values = [
        best[box]
        for a, b, c, d in drawn
        for box in best
        if (kind.at(box[0]), kind.at(box[1]), rank.at(box[2]), rank.at(box[3])) == (a, b, c, d)
    ]
    assert len(values) == len(best) and values[-1] == mixed_study.best_value
    assert values == sorted(values)


def test_trials_are_marked_by_their_end(mixed_study: optuna.Study) -> None:
    counts = Counter(
        ("pruned, with its last value" if t.intermediate_values else "pruned without a value")
        if t.state is TrialState.PRUNED
        else {"FAIL": "failed"}.get(t.state.name, t.state.name.lower())
        for t in mixed_study.trials
    )
    assert len(counts) == 5  # complete, both kinds of pruned, failed, running
    figure = plot_partition(mixed_study, ["rate", "rank"])
    assert {name: len(named(figure, name).x) for name in counts} == counts
    pruned = named(figure, "pruned, with its last value")
    assert set(pruned.marker.color) == {
        Scale.of(
            [-9.5, *(t.value for t in mixed_study.trials if t.value is not None)], minimise=False
        ).rank(-9.5)
    }


@pytest.mark.parametrize("plot", [plot_partition, plot_depths])
def test_no_infeasible_trial_is_the_best_or_has_a_colour(plot: Any) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        trial.set_constraint("enough", 0.4 - x)
        return x * x + y

    study = run(objective, 30)
    infeasible = [t for t in study.trials if t.constraints["enough"] > 0]
    assert min(infeasible, key=lambda t: t.value or 0).value < study.best_value
    figure = plot(study)
    marked = named(figure, "infeasible")
    assert len(marked.x) == len(infeasible)
    assert f"violates enough: {number(infeasible[0].constraints['enough'], 3)}" in str(
        marked.hovertext
    )
    (best,) = named(figure, "best").hovertext
    assert f"<b>trial {study.best_trial.number}</b>" in best


def test_a_study_without_a_feasible_trial_is_drawn() -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("never", 1.0)
        return trial.suggest_float("x", 0, 1)

    figure = plot_partition(run(objective, 5))
    assert [trace.name for trace in figure.data if trace.name == "best"] == []


def test_one_parameter_gives_intervals_at_their_value() -> None:
    study = run(lambda trial: abs(math.log(trial.suggest_float("x", 1e-3, 10, log=True))), 25)
    figure = plot_partition(study)
    lines = named(figure, "cell")
    drawn = {(lines.x[i], lines.x[i + 1], lines.y[i]) for i in range(0, len(lines.x), 3)}
    assert sorted(drawn) == [
        pytest.approx((1e-3 * 1e4 ** c.low["x"], 1e-3 * 1e4 ** c.high["x"], c.value))
        for c in cells(study)
        if c.value is not None
    ]
    assert figure.layout.xaxis.type == "log"


def test_an_axis_of_more_decades_than_floats_divide_is_drawn() -> None:
    study = run(lambda trial: math.log(trial.suggest_float("x", 1e-300, 1e300, log=True)), 9)
    layout = plot_partition(study).layout
    assert layout.xaxis.range == (-300, 300) and layout.xaxis.dtick == 75


def test_by_default_the_two_parameters_that_are_cut_most() -> None:
    space = {
        "switch": CategoricalDistribution(["on", "off"]),
        "x": FloatDistribution(0, 1),
        "three": IntDistribution(1, 3),
        "y": FloatDistribution(0, 1),
    }
    study = optuna.create_study(sampler=SOOSampler(search_space=space))
    for _ in range(60):
        trial = study.ask(space)
        study.tell(trial, trial.params["x"] + trial.params["y"])
    layout = plot_partition(study).layout
    assert (layout.xaxis.title.text, layout.yaxis.title.text) == ("x", "y")


@pytest.mark.parametrize("params", [["z"], ["x", "z"], ["x", "x"], [], ["x", "y", "x"]])
def test_wrong_parameters_get_the_valid_names(smooth: optuna.Study, params: list[str]) -> None:
    with pytest.raises(ValueError, match=r"`params` must be one or two .*\['x', 'y'\]"):
        plot_partition(smooth, params)


def test_trials_outside_the_space_are_counted_and_not_drawn() -> None:
    study = optuna.create_study(
        sampler=SOOSampler(
            search_space={
                "x": FloatDistribution(-5, 10),
                "y": FloatDistribution(0, 15),
            }
        )
    )
    study.add_trial(
        optuna.create_trial(
            params={"x": 20.0, "y": 1.0},
            distributions={"x": FloatDistribution(0, 30), "y": FloatDistribution(0, 15)},
            value=-1e6,
        )
    )
    study.optimize(valley, n_trials=10)
    figure = plot_partition(study)
    assert len(named(figure, "complete").x) == 10 and named(figure, "best") is None
    assert "1 trial outside" in figure.layout.title.subtitle.text
