"""Tree and depths are as `inspection` says; any study is drawn; the dashboard gets the figures."""

from __future__ import annotations

from collections import Counter
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
from plotting import MIXED
from plotting import named
from plotting import run
from plotting import valley
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._plot.axes import PlotAxis
from optuna_partition.inspection import cells
from optuna_partition.inspection import tree
from optuna_partition.visualization import plot_depths
from optuna_partition.visualization import plot_partition
from optuna_partition.visualization import plot_tree
from optuna_partition.visualization import show_in_dashboard


PLOTS = [plot_partition, plot_tree, plot_depths]


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


def test_an_opened_cell_knows_the_best_and_the_trials_inside(mixed_study: optuna.Study) -> None:
    entries = tree(mixed_study)
    whole = entries[0]
    assert whole.parent is None and whole.cell.value == mixed_study.best_value
    assert whole.cell.low == dict.fromkeys(MIXED, 0) and whole.cell.high == dict.fromkeys(MIXED, 1)
    for i, entry in enumerate(entries):
        parts = [e.cell for e in entries if e.parent == i]
        assert bool(parts) == entry.opened
        if parts:
            values = [part.value for part in parts if part.value is not None]
            assert entry.cell.value == max(values, default=None)
            assert entry.cell.trials == tuple(sorted(n for part in parts for n in part.trials))


def test_a_failed_cell_has_no_value(mixed_study: optuna.Study) -> None:
    failed = {t.number for t in mixed_study.trials if t.state is TrialState.FAIL}
    alone = [c for c in cells(mixed_study) if c.trials and set(c.trials) <= failed]
    assert alone and all(c.value is None for c in alone)


def test_hover_text_of_a_cell_has_real_bounds(mixed_study: optuna.Study) -> None:
    bars = plot_tree(mixed_study).data[0]
    assert bars.hovertext[0].split("<br>")[2:] == [
        "rate: 1e-5 to 0.01",
        "rank: 4 to 64",
        "kind: a&lt;b, None, True",
        "drop: 0 to 0.5",
        "width: 2 to 40",
    ]


@pytest.mark.parametrize("name", MIXED)
def test_bounds_name_the_first_and_last_value_inside(mixed_study: optuna.Study, name: str) -> None:
    axis, distribution = PlotAxis(name, MIXED[name]), MIXED[name]
    for cell in cells(mixed_study):
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
