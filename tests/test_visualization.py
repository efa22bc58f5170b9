"""The figures of a partition: what is drawn is what `inspection.cells` and the trials say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import math
import subprocess
import sys
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
import plotly.graph_objects as go
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._plot_axes import number
from optuna_partition._plot_axes import PlotAxis
from optuna_partition._plot_axes import Scale
from optuna_partition.inspection import cells
from optuna_partition.inspection import tree
from optuna_partition.visualization import plot_depths
from optuna_partition.visualization import plot_partition
from optuna_partition.visualization import plot_tree
from optuna_partition.visualization import show_in_dashboard


PLOTS = [plot_partition, plot_tree, plot_depths]
MIXED = {
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "rank": IntDistribution(4, 64, log=True),
    "kind": CategoricalDistribution(["a<b", None, True]),
    "drop": FloatDistribution(0, 0.5, step=0.1),
    "width": IntDistribution(2, 40, step=2),
}


def valley(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 10)
    y = trial.suggest_float("y", 0, 15)
    return (x - 3) ** 2 + (y - 2.2) ** 2


def mixed(trial: optuna.Trial) -> float:
    """Trials of every kind: every seventh fails, the high rates are pruned."""
    rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    rank = trial.suggest_int("rank", 4, 64, log=True)
    kind = trial.suggest_categorical("kind", ["a<b", None, True])
    rest = trial.suggest_float("drop", 0, 0.5, step=0.1) + trial.suggest_int(
        "width", 2, 40, step=2
    )
    if rate > 2e-3 and trial.number % 2:
        trial.report(-9.5, 1)
    if rate > 2e-3:
        raise optuna.TrialPruned
    if trial.number % 7 == 6:
        raise ArithmeticError
    return -abs(math.log10(rate) + 4) - abs(rank - 20) - (kind is None) - rest / 100


def run(
    objective: Callable[[optuna.Trial], float], n_trials: int, sampler: Any = None, **more: Any
) -> optuna.Study:
    study = optuna.create_study(sampler=sampler or SOOSampler(), **more)
    study.optimize(objective, n_trials=n_trials, catch=ArithmeticError)
    return study


@pytest.fixture(scope="module")
def smooth() -> optuna.Study:
    return run(valley, 60)


@pytest.fixture(scope="module")
def kinds() -> optuna.Study:
    study = run(mixed, 120, SOOSampler(search_space=dict(MIXED)), direction="maximize")
    study.ask(dict(MIXED))
    return study


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


def named(figure: go.Figure, name: str) -> Any:
    return next((trace for trace in figure.data if trace.name == name), None)


# ---- the partition ----


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
    kinds: optuna.Study, params: list[str]
) -> None:
    ends = {
        "rate": (1e-5, 1e-2),
        "rank": (3.5, 64.5),
        "kind": (-0.5, 2.5),
        "drop": (-0.05, 0.55),
        "width": (1, 41),
    }
    figure = plot_partition(kinds, params)
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
        edges = {(c.low[name], c.high[name]) for c in cells(kinds)}
        assert {(box[low], box[high]) for box in drawn} >= {
            (PlotAxis(name, MIXED[name]).at(a), PlotAxis(name, MIXED[name]).at(b))
            for a, b in edges
        }


def test_ticks_are_values_and_names(kinds: optuna.Study) -> None:
    figure = plot_partition(kinds, ["kind", "rank"])
    assert figure.layout.xaxis.ticktext == ("a&lt;b", "None", "True")
    assert figure.layout.xaxis.tickvals == (0, 1, 2)
    assert figure.layout.yaxis.tickvals == (4, 8, 16, 32, 64)
    assert plot_partition(kinds, ["drop"]).layout.xaxis.ticktext == tuple(
        ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    )


def test_where_cells_overlap_the_best_is_on_top(kinds: optuna.Study) -> None:
    best: dict[tuple[float, ...], float] = {}
    for cell in cells(kinds):
        if cell.value is not None:
            low, high = cell.low, cell.high
            box = (low["kind"], high["kind"], low["rank"], high["rank"])
            best[box] = max(best.get(box, -math.inf), cell.value)
    kind, rank = (PlotAxis(name, MIXED[name]) for name in ("kind", "rank"))
    drawn = outlines(plot_partition(kinds, ["kind", "rank"]))
    values = [
        best[box]
        for a, b, c, d in drawn
        for box in best
        if (kind.at(box[0]), kind.at(box[1]), rank.at(box[2]), rank.at(box[3])) == (a, b, c, d)
    ]
    assert len(values) == len(best) and values[-1] == kinds.best_value
    assert values == sorted(values)


def test_trials_are_marked_by_their_end(kinds: optuna.Study) -> None:
    counts = Counter(
        ("pruned, with its last value" if t.intermediate_values else "pruned without a value")
        if t.state is TrialState.PRUNED
        else {"FAIL": "failed"}.get(t.state.name, t.state.name.lower())
        for t in kinds.trials
    )
    assert len(counts) == 5  # complete, both kinds of pruned, failed, running
    figure = plot_partition(kinds, ["rate", "rank"])
    assert {name: len(named(figure, name).x) for name in counts} == counts
    pruned = named(figure, "pruned, with its last value")
    assert set(pruned.marker.color) == {
        Scale.of(
            [-9.5, *(t.value for t in kinds.trials if t.value is not None)], minimise=False
        ).rank(-9.5)
    }


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


# ---- the tree ----


@pytest.mark.parametrize("sampler", [SOOSampler, DIRECTSampler])
def test_the_tree_has_every_cell_above_its_parts(sampler: Any) -> None:
    study = run(valley, 60, sampler())
    entries = tree(study)
    assert [e.cell for e in entries if not e.opened] == cells(study)
    bars = {}
    for bar in plot_tree(study).data[:-1]:
        for x, width, base, y, text in zip(
            bar.x, bar.width, bar.base, bar.y, bar.hovertext, strict=True
        ):
            bars[(x - width / 2, x + width / 2, round(base + y / 2))] = text
    assert len(bars) == len(entries)
    widths = Counter(depth for *_, depth in bars)
    assert widths == Counter(e.cell.depth for e in entries)
    assert (0, len(cells(study)), 0) in bars
    for left, right, depth in bars:
        above = [b for b in bars if b[2] == depth - 1 and b[0] <= left and right <= b[1]]
        assert len(above) == (depth > 0)
        parts = [b for b in bars if b[2] == depth + 1 and left <= b[0] and b[1] <= right]
        covered = sum(b[1] - b[0] for b in parts)
        assert covered == (right - left if parts else 0)
        assert parts or right - left == 1


def test_an_opened_cell_knows_the_best_and_the_trials_inside(kinds: optuna.Study) -> None:
    entries = tree(kinds)
    whole = entries[0]
    assert whole.parent is None and whole.cell.value == kinds.best_value
    assert whole.cell.low == dict.fromkeys(MIXED, 0) and whole.cell.high == dict.fromkeys(MIXED, 1)
    for i, entry in enumerate(entries):
        parts = [e.cell for e in entries if e.parent == i]
        assert bool(parts) == entry.opened
        if parts:
            values = [part.value for part in parts if part.value is not None]
            assert entry.cell.value == max(values, default=None)
            assert entry.cell.trials == tuple(sorted(n for part in parts for n in part.trials))


def test_a_failed_cell_has_no_value(kinds: optuna.Study) -> None:
    failed = {t.number for t in kinds.trials if t.state is TrialState.FAIL}
    alone = [c for c in cells(kinds) if c.trials and set(c.trials) <= failed]
    assert alone and all(c.value is None for c in alone)


def test_hover_text_of_a_cell_has_real_bounds(kinds: optuna.Study) -> None:
    bars = plot_tree(kinds).data[0]
    assert bars.hovertext[0].split("<br>")[2:] == [
        "rate: 1e-5 to 0.01",
        "rank: 4 to 64",
        "kind: a&lt;b, None, True",
        "drop: 0 to 0.5",
        "width: 2 to 40",
    ]


@pytest.mark.parametrize("name", MIXED)
def test_bounds_name_the_first_and_last_value_inside(kinds: optuna.Study, name: str) -> None:
    axis, distribution = PlotAxis(name, MIXED[name]), MIXED[name]
    for cell in cells(kinds):
        low, high = axis.at(cell.low[name]), axis.at(cell.high[name])
        text = axis.bounds(cell.low[name], cell.high[name])
        if isinstance(distribution, CategoricalDistribution):
            inside = [c for i, c in enumerate(distribution.choices) if low < i < high]
            assert text == ", ".join(str(c).replace("<", "&lt;") for c in inside)
        elif isinstance(distribution, IntDistribution):
            step = 1 if distribution.log else distribution.step
            values = range(distribution.low, distribution.high + 1, step)
            whole = [v for v in values if low < v < high]
            ends = (str(whole[0]), str(whole[-1]))
            assert text == (ends[0] if len(whole) == 1 else f"{ends[0]} to {ends[1]}")


# ---- the depths ----


def test_depths_are_those_of_the_cells_that_were_evaluated() -> None:
    study = run(
        valley,
        40,
        SOOSampler(
            search_space={
                "x": FloatDistribution(-5, 10),
                "y": FloatDistribution(0, 15),
            }
        ),
    )
    figure = plot_depths(study)
    points = named(figure, "complete")
    depths = dict(zip(points.x, points.y, strict=True))
    assert depths.keys() == set(range(40)) and depths[0] == 0
    for trial in study.trials:
        levels = trial.system_attrs["partition"]["cell"].values()  # "level.index" per axis
        assert depths[trial.number] == sum(int(level.split(".")[0]) for level in levels)
    bars = figure.data[-1]
    assert dict(zip(bars.y, bars.x, strict=True)) == Counter(c.depth for c in cells(study))


def test_a_trial_from_elsewhere_has_the_depth_of_what_it_evaluated() -> None:
    study = optuna.create_study(sampler=SOOSampler())
    study.enqueue_trial({"x": 2.5, "y": 7.5})
    study.enqueue_trial({"x": 1.234, "y": 5.678})
    study.optimize(valley, n_trials=25)
    points = named(plot_depths(study), "complete")
    depths = dict(zip(points.x, points.y, strict=True))
    assert depths[0] == 0  # the centre of the whole space
    assert depths[1] == next(c.depth for c in cells(study) if 1 in c.trials) > 0


# ---- odd studies ----


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("sampler", [None, optuna.samplers.RandomSampler(seed=0)])
def test_without_a_partition_there_is_a_way_out(plot: Any, sampler: Any) -> None:
    study = optuna.create_study(sampler=sampler or SOOSampler(), study_name="empty")
    if sampler:
        study.optimize(valley, n_trials=3)
    with pytest.raises(ValueError, match=r"`study` must .*'empty'.*sampler=SOOSampler\(\)"):
        plot(study)


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("outcome", ["one", "failed", "pruned", "infinite", "huge", "equal"])
def test_odd_values_are_drawn(plot: Any, outcome: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        value = valley(trial)
        if outcome == "failed":
            raise ArithmeticError
        if outcome == "pruned":
            raise optuna.TrialPruned
        odd = {"infinite": math.inf * (-1) ** trial.number, "huge": 1e308, "equal": 2.0}
        return odd.get(outcome, value) if trial.number % 3 or outcome == "equal" else value

    space = {"x": FloatDistribution(-5, 10), "y": FloatDistribution(0, 15)}
    study = run(objective, 1 if outcome == "one" else 12, SOOSampler(search_space=space))
    for figure in [plot(study), *([plot(study, ["x"])] if plot is plot_partition else [])]:
        go.Figure(figure.to_dict())  # valid in every property
        text = figure.to_json()
        assert "Infinity" not in text and "NaN" not in text
        trials = named(
            figure,
            {"failed": "failed", "pruned": "pruned without a value"}.get(outcome, "complete"),
        )
        assert plot is plot_tree or len(trials.x) == len(study.trials)


def test_trials_outside_the_space_are_counted_and_not_drawn(smooth: optuna.Study) -> None:
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


# ---- the dashboard, and without the libraries ----


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # optuna-dashboard's import
def test_the_dashboard_finds_the_figures() -> None:
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    study = run(valley, 40)
    for _ in range(2):  # the second time they are replaced
        show_in_dashboard(study)
        study.optimize(valley, n_trials=3)
    show_in_dashboard(study)
    attributes = study._storage.get_study_system_attrs(study._study_id)
    stored = get_plotly_graph_objects(attributes)
    assert stored == {
        "partition": plot_partition(study).to_json(),
        "tree": plot_tree(study).to_json(),
        "depths": plot_depths(study).to_json(),
    }


@pytest.mark.parametrize(
    ("missing", "extra", "code"),
    [
        ("plotly", "plot", "import optuna_partition.visualization"),
        (
            "optuna_dashboard",
            "dashboard",
            "import optuna; from optuna_partition.visualization import show_in_dashboard; "
            "show_in_dashboard(optuna.create_study())",
        ),
    ],
)
def test_a_missing_library_gets_the_install_line(missing: str, extra: str, code: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError") and f'pip install "optuna-partition[{extra}]"' in last
