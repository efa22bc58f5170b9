"""The figures of a report show what the trials say; their scales hold it."""

from __future__ import annotations

import itertools
import math
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from matplotlib import rc_context
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trials import history_of
from trials import random_study
from trials import real
from trials import SPACE
from trials import study_of
from trials import trial

from objectives.report import canvas
from objectives.report import figures
from objectives.report import scales
from objectives.report.curves import curves
from objectives.report.curves import learning_curves
from objectives.report.given import CellBox
from objectives.report.history import History
from objectives.report.history import importance
from objectives.report.partition import partition
from objectives.report.report import NARROW
from objectives.report.report import WIDE


# -- what the figures show -----------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "best"), [("minimize", [3, 1, 1]), ("maximize", [3, 3, 4])])
def test_running_best_is_drawn(direction: str, best: list[int]) -> None:
    history = history_of(trial(3.0), trial(1.0), trial(4.0), direction=direction)
    (line,) = figures.progress(history).axes[0].get_lines()
    assert list(line.get_ydata())[:3] == best


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_panels_have_room_for_their_labels(width: float) -> None:
    """Whatever is written beside an axis stays in the figure and off its neighbours."""
    history = history_of(trial(3.0), trial(1.0), trial(4.0))
    with rc_context(canvas.STYLE):
        figure = canvas.laid_out(figures.parameters_by_value(history, importance(history), width))
        boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert len(boxes) > 2 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_diverged_trial_is_drawn_at_the_worse_edge() -> None:
    values = [2.0, 2.1, 2.2, 2.15, 2.05, 2.3, 1e9, math.inf]
    for sign, direction in ((1, "minimize"), (-1, "maximize")):
        window = history_of(*[trial(sign * v) for v in values], direction=direction).window
        assert sorted([window.low, window.high]) == sorted([sign * 2.0, sign * 2.3])
        assert window.clip(sign * 1e9) == window.edge
        assert sign * window.edge > 2.3


def test_partition_draws_each_outline_once_and_ticks_where_the_cells_are() -> None:
    thirds = [(0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0)]
    cells = [
        CellBox({"learning_rate": a, "dropout": c}, {"learning_rate": b, "dropout": d})
        for a, b in thirds
        for c, d in thirds
    ]
    history = history_of(trial(1.0))

    def flipped(params: Any) -> dict[str, float]:
        return {n: 1 - scales.unit(SPACE[n], v) for n, v in params.items()}

    axes = partition(history, cells, ["learning_rate", "rank"], flipped).axes[0]
    assert len(axes.collections[0].get_paths()) == 3
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1e-5", "1e-4", "0.001", "0.01"]
    assert list(axes.get_xticks()) == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_partition_leaves_out_what_its_cells_do_not_hold() -> None:
    """Off a step's grid, `to_unit` has no place for a point and may say so with {}."""
    space: dict[str, BaseDistribution] = {"batch": IntDistribution(1, 57, step=7)}
    asked = [trial(1.0, params={"batch": b}, space=SPACE | space) for b in (8, 15)]
    off = trial(1.0, params={"batch": 9}, space=SPACE | {"batch": IntDistribution(1, 57)})
    history = History.of(study_of(*asked, off), space)

    def held(params: Any) -> dict[str, float]:
        return {"batch": params["batch"] / 57} if params["batch"] % 7 == 1 else {}

    axes = partition(history, [CellBox({}, {})], ["batch"], held).axes[0]
    labels = [int(label.get_text()) for label in axes.get_xticklabels()]
    assert len(labels) > 2 and all(label % 7 == 1 for label in labels)
    assert list(axes.get_xticks()) == pytest.approx([label / 57 for label in labels])
    *_, dots, star = axes.collections
    assert sorted(dots.get_offsets()[:, 0]) == pytest.approx([8 / 57, 15 / 57])
    assert list(star.get_offsets()[0]) == pytest.approx([8 / 57, 0.5])


def test_times_are_stacked_to_the_duration() -> None:
    known = {"seconds_setup": 1.0, "seconds_training": 6.0, "seconds_scoring": 2.0}
    axes = figures.times(history_of(trial(1.0, user_attrs=known, seconds=10))).axes[0]
    bars = {c.get_label(): c.patches[0] for c in axes.containers}
    tops = {label: bar.get_y() + bar.get_height() for label, bar in bars.items()}
    assert tops == {"set-up": 1.0, "training": 7.0, "scoring": 9.0, "other": 10.0}


# -- pruned trials and learning curves -----------------------------------------------------------


def pruned(losses: dict[int, float], **params: Any) -> FrozenTrial:
    """Of a training of 12 steps in 4 parts; the pruner has seen the smallest loss so far."""
    given = list(losses.values())
    seen = {part: min(given[: i + 1]) for i, part in enumerate(losses)}
    by_step = [[3 * part, loss] for part, loss in losses.items()]
    attributes = {"validation_losses": by_step}
    state = TrialState.PRUNED
    return trial(None, state, params=params, intermediate_values=seen, user_attrs=attributes)


def complete(losses: dict[int, float], steps: int = 12) -> FrozenTrial:
    by_step = [[steps * part // 4, loss] for part, loss in losses.items()]
    seen = dict(enumerate(losses.values(), start=1))
    value = list(losses.values())[-1]
    return trial(value, intermediate_values=seen, user_attrs={"validation_losses": by_step})


def test_pruned_trials_are_rings_wherever_parameters_are_drawn() -> None:
    history = history_of(trial(2.0), trial(2.4), pruned({1: 2.3}, rank=32))
    shares = {"rank": 0.0}
    cells = [CellBox({}, {})]
    for figure, place in (
        (figures.parameters_by_value(history, shares), (32, 2.3)),
        (figures.parameters_by_trial(history, shares), (2, 32)),
        (partition(history, cells, ["rank"]), (scales.unit(SPACE["rank"], 32), 0.5)),
    ):
        white = [1.0, 1.0, 1.0, 1.0]
        rings = [
            c for c in figure.axes[0].collections if [*c.get_facecolor()[:1].ravel()] == white
        ]
        (at,) = [spot for ring in rings for spot in ring.get_offsets()]
        assert tuple(at) == pytest.approx(place)


def test_learning_curves_by_share_of_the_training() -> None:
    """Whatever the steps; what a pruner saw is not what was measured."""
    losses = {1: 3.0, 2: 2.5, 3: 2.6, 4: 2.4}
    history = history_of(
        complete(losses), complete(losses, steps=40), pruned({1: 3.2, 2: 3.3}), pruned({1: 3.5})
    )
    measured = [(0.25, 3.0), (0.5, 2.5), (0.75, 2.6), (1.0, 2.4)]
    stopped = [(0.25, 3.2), (0.5, 3.3)]
    assert curves(history) == {0: measured, 1: measured, 2: stopped, 3: [(0.25, 3.5)]}
    axes = learning_curves(history).axes[0]
    (best,) = axes.get_lines()
    assert [*zip(*best.get_data(), strict=True)] == measured and "trial 0" in best.get_label()
    lines, dotted, ends = axes.collections
    assert len(lines.get_paths()) == 2 and len(dotted.get_paths()) == 2
    assert [tuple(end) for end in ends.get_offsets()] == [(0.5, 3.3), (0.25, 3.5)]


def test_learning_curves_where_a_task_decides_and_nothing_is_reported() -> None:
    attributes = {"validation_losses": [[5, 3.0], [10, 2.0]]}
    scored = history_of(trial(0.4, user_attrs=attributes), direction="maximize")
    assert curves(scored) == {0: [(0.5, 3.0), (1.0, 2.0)]}


def test_single_losses_are_no_curves() -> None:
    assert curves(history_of(complete({4: 2.0}), pruned({1: 3.0}))) == {}
    failed = trial(None, TrialState.FAIL, user_attrs={"validation_losses": [[1, 3.0], [2, 9.0]]})
    assert curves(history_of(trial(2.0), failed)) == {}


# -- importance, numbers, scales -----------------------------------------------------------------


def test_importance_finds_an_optimum_inside_the_range() -> None:
    shares = importance(History.of(random_study(60, real), SPACE))
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.4 > 10 * max(list(shares.values())[1:]) / 3


def test_importance_of_a_category_and_of_constant_values() -> None:
    by_batch = [trial(float(b), params={"effective_batch": b}) for b in (8, 16, 32) * 4]
    assert importance(history_of(*by_batch))["effective_batch"] == pytest.approx(1.0)
    assert set(importance(history_of(*[trial(1.0)] * 9)).values()) == {0.0}


def test_what_did_not_vary_explains_nothing_and_is_said_not_to_have_varied() -> None:
    by_batch = [trial(float(b), params={"effective_batch": b}) for b in (8, 16, 32) * 4]
    by_batch.append(trial(None, TrialState.PRUNED, params={"dropout": 0.3}))
    history = history_of(*by_batch)
    axes = figures.parameters_by_value(history, importance(history)).axes
    notes = {a.get_title(loc="left"): a.get_title(loc="right") for a in axes}
    assert notes == {
        "effective_batch": "explains 100%",
        "learning_rate": "did not vary",
        "rank": "did not vary",
        "dropout": "",
    }


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.booleans())
def test_window_holds_the_best_finite_value(values: list[float], minimise: bool) -> None:
    window = scales.value_window(values, minimise)
    finite = [v for v in values if abs(v) < scales.HUGE]
    assert all(map(math.isfinite, (window.low, window.high, window.edge, *window.padded())))
    assert window.low < window.high and not window.shows(window.edge)
    assert not finite or window.shows(min(finite) if minimise else max(finite))


@settings(max_examples=50)
@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.booleans())
def test_ticks_lie_in_the_range(a: float, b: float, log: bool) -> None:
    distribution = FloatDistribution(min(a, b), max(a, b), log=log)
    ticks = [value for value, _ in scales.ticks(distribution)]
    assert 1 <= len(ticks) <= 12
    assert all(scales.holds(distribution, tick) for tick in ticks)
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-5, "2e-5"),
        (0.25, "0.25"),
        (16, "16"),
        (1234.5678, "1235"),
        (0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (12345.0, "12340"),
    ]
    + [(math.inf, "inf"), (-1.5e10, "-1.5e10"), (True, "True"), (None, "None"), ("all", "all")],
)
def test_numbers_for_a_reader(value: Any, text: str) -> None:
    assert scales.number(value) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.25, "0.2 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7620, "2 h 7 min")],
)
def test_durations_for_a_reader(duration: float, text: str) -> None:
    assert scales.seconds(duration) == text
