"""The report of every study there can be is written, true, and self-contained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from html.parser import HTMLParser
import math
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from PIL import Image
import pytest

from objectives.errors import UserError
from objectives.report import CellBox
from objectives.report import figures
from objectives.report import FinalRow
from objectives.report import scales
from objectives.report import write_report
from objectives.report.history import History
from objectives.report.history import importance
from objectives.report.partition import partition


SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "rank": IntDistribution(1, 64, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "effective_batch": CategoricalDistribution([8, 16, 32]),
}
PARAMS = {"learning_rate": 1e-3, "rank": 8, "dropout": 0.1, "effective_batch": 16}
START = datetime(2026, 1, 2, 3, 4)
FINAL = [
    FinalRow("base", None, 4.41, {"mc": (0.262, 0.0115)}),
    FinalRow("trial 7", 2.1, 2.1, {"mc": (0.387, 0.0131)}),
]


def trial(
    value: float | None,
    state: TrialState = TrialState.COMPLETE,
    *,
    params: dict[str, Any] | None = None,
    space: dict[str, BaseDistribution] = SPACE,
    seconds: float | None = None,
    **more: Any,
) -> FrozenTrial:
    params = PARAMS | (params or {})
    made = create_trial(state=state, value=value, params=params, distributions=space, **more)
    if seconds is not None:
        made.datetime_start = START
        made.datetime_complete = START + timedelta(seconds=seconds)
    return made


def study_of(*trials: FrozenTrial, direction: str = "minimize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def history_of(*trials: FrozenTrial, direction: str = "minimize") -> History:
    return History.of(study_of(*trials, direction=direction), SPACE)


def random_study(n: int, objective: Callable[[optuna.Trial], float]) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=n, catch=(ArithmeticError,))
    return study


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {name: trial._suggest(name, distribution) for name, distribution in SPACE.items()}


def real(trial: optuna.Trial) -> float:
    """The value depends on the learning rate, with the optimum inside; some trials fail."""
    params = suggest(trial)
    if trial.number % 7 == 3:
        trial.set_user_attr("failure", "the loss became nan at step 12")
        raise ArithmeticError
    if trial.number % 7 == 5:
        trial.report(3.0, 1)
        raise optuna.TrialPruned
    trial.set_user_attr("seconds_training", 0.001)
    return (math.log10(params["learning_rate"]) + 3.5) ** 2 + 0.01 * params["dropout"]


class Page(HTMLParser):
    """Tags in the order they open; the addresses they load; whether every one is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for name, v in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def write(study: optuna.Study, folder: Path, **more: Any) -> str:
    space = more.pop("space", {"rank": SPACE["rank"]})
    path = write_report(study, folder, title="T", space=space, **more)
    assert Page(path).open == []
    return path.read_text(encoding="utf-8")


# -- the whole report ----------------------------------------------------------------------------


def test_full_report_is_one_self_contained_page_with_pictures_beside_it(tmp_path: Path) -> None:
    cells = [CellBox({"learning_rate": i / 3}, {"learning_rate": (i + 1) / 3}) for i in range(3)]
    study = random_study(40, real)
    write(study, tmp_path, space=SPACE, cells=cells, final=FINAL, settings={"model": "m"})
    page = Page(tmp_path / "report.html")
    assert len(page.addresses) == 12  # six figures, each for screen and phone
    assert all(a.startswith("data:image/svg+xml;base64,") for a in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    names = "final_scores parameters_by_trial parameters_by_value partition progress times"
    pictures = sorted(tmp_path.glob("*.png"))
    assert [p.stem for p in pictures] == names.split()
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width == 2000
            assert len(image.convert("RGB").getcolors(10**6) or []) > 20


def test_text_of_the_report(tmp_path: Path) -> None:
    why = {"failure": "loss was nan"}
    failure = trial(None, TrialState.FAIL, user_attrs=why, seconds=0)
    text = write(
        study_of(trial(2.5, seconds=90), trial(2.123456789, seconds=90), failure), tmp_path
    )
    assert "<b>2.1235</b><span>trial 1</span>" in text
    assert "2 complete, 1 failed" in text
    assert "<b>3 min</b><span>1 min 30 s per complete trial</span>" in text
    assert "loss was nan" in text
    assert '<tr class="best"><td class="n">1</td>' in text


def test_final_scores_stand_beside_the_base(tmp_path: Path) -> None:
    text = write(study_of(trial(2.0)), tmp_path, final=FINAL)
    assert "0.2620 ± 0.0115" in text
    assert "0.3870 ± 0.0131<br><small>+0.1250</small>" in text


def test_final_rows_without_scores_make_a_table_only(tmp_path: Path) -> None:
    text = write(study_of(trial(2.0)), tmp_path, final=[FinalRow("base", None, 4.5, {})])
    assert "4.5000" in text
    assert not (tmp_path / "final_scores.png").exists()


def test_text_from_users_is_escaped(tmp_path: Path) -> None:
    evil = "<script>x</script>$\\frac{$ \"'&"
    space = {evil: CategoricalDistribution([evil, "b"])}
    made = create_trial(
        params={evil: evil}, distributions=space, value=1.0, user_attrs={"failure": evil}
    )
    path = write_report(
        study_of(made, made),
        tmp_path,
        title=evil,
        space=space,
        final=[FinalRow(evil, 1.0, 1.0, {evil: (0.5, 0.1)})],
        cells=[CellBox({}, {})],
        settings={evil: evil},
    )
    assert "script" not in Page(path).tags
    assert path.read_text(encoding="utf-8").count("&lt;script&gt;") > 8


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    write(study_of(trial(2.0)), tmp_path)
    assert "<b>1.0000</b>" in write(study_of(trial(2.0), trial(1.0)), tmp_path)


def test_folder_that_is_a_file_is_the_users_mistake(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="file.*give another output folder"):
        write(study_of(trial(1.0)), blocked)


# -- every study there can be --------------------------------------------------------------------

PRUNED = {"state": TrialState.PRUNED, "intermediate_values": {1: 3.0}}
STUDIES: dict[str, list[FrozenTrial]] = {
    "empty": [],
    "one trial": [trial(2.0)],
    "constant": [trial(2.0)] * 5,
    "zero": [trial(0.0)] * 3,
    "all failed": [trial(None, TrialState.FAIL)] * 3,
    "pruned only": [trial(None, **PRUNED)] * 3,
    "pruned unreported": [trial(None, TrialState.PRUNED)],
    "waiting": [trial(None, TrialState.WAITING)],
    "running": [trial(None, TrialState.RUNNING), trial(1.0)],
    "infinite": [trial(math.inf), trial(-math.inf), trial(2.0)],
    "infinite only": [trial(math.inf)] * 3,
    "huge": [trial(1e308), trial(-1e308), trial(1e30), trial(2.0)],
    "tiny differences": [trial(1.0), trial(1.0 + 1e-15), trial(1.0 - 1e-15)],
    "no parameters": [create_trial(value=1.0), create_trial(value=2.0)],
    "other parameters": [
        create_trial(value=1.0, params={"x": 1}, distributions={"x": IntDistribution(0, 3)})
    ],
    "outside": [trial(1.0, params={"rank": 99}, space=SPACE | {"rank": IntDistribution(1, 99)})],
    "nonsense times": [
        trial(1.0, user_attrs={"seconds_setup": "long", "seconds_training": math.nan})
    ],
}


@pytest.mark.parametrize(
    ("name", "direction"),
    [(name, "minimize") for name in STUDIES]
    + [(name, "maximize") for name in ("one trial", "all failed", "infinite", "huge")],
)
def test_report_of_any_study(name: str, direction: str, tmp_path: Path) -> None:
    study = study_of(*STUDIES[name], direction=direction)
    text = write(study, tmp_path, cells=[CellBox({}, {})])
    assert text.count('<td class="n">') >= len(STUDIES[name])


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0.25, 0.25),
        FloatDistribution(1e-3, 1e-3, log=True),
        FloatDistribution(1e-3, 1.1e-3, log=True),
        FloatDistribution(-3.0, 1e6, step=0.5),
        IntDistribution(7, 7),
        IntDistribution(0, 1),
        IntDistribution(3, 1000, log=True),
        CategoricalDistribution([None]),
        CategoricalDistribution([True, "a", 0.5, None]),
        CategoricalDistribution([f"a very long category {i}" for i in range(40)]),
    ],
    ids=str,
)
def test_report_of_any_parameter(distribution: BaseDistribution, tmp_path: Path) -> None:
    choices = getattr(distribution, "choices", None)
    values = choices or (distribution.low, distribution.high)  # type: ignore[attr-defined]
    study = optuna.create_study()
    for number, value in enumerate(values):
        study.add_trial(
            create_trial(params={"x": value}, distributions={"x": distribution}, value=number)
        )
    write(study, tmp_path, space={"x": distribution}, cells=[CellBox({"x": 0.0}, {"x": 1.0})])
    assert (tmp_path / "partition.png").exists()


# -- what the figures show -----------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "best"), [("minimize", [3, 1, 1]), ("maximize", [3, 3, 4])])
def test_running_best_is_drawn(direction: str, best: list[int]) -> None:
    history = history_of(trial(3.0), trial(1.0), trial(4.0), direction=direction)
    (line,) = figures.progress(history).axes[0].get_lines()
    assert list(line.get_ydata())[:3] == best


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
    _, _, dots, star = axes.collections
    assert sorted(dots.get_offsets()[:, 0]) == pytest.approx([8 / 57, 15 / 57])
    assert list(star.get_offsets()[0]) == pytest.approx([8 / 57, 0.5])


def test_times_are_stacked_to_the_duration() -> None:
    known = {"seconds_setup": 1.0, "seconds_training": 6.0, "seconds_scoring": 2.0}
    axes = figures.times(history_of(trial(1.0, user_attrs=known, seconds=10))).axes[0]
    tops = {str(p.get_label()): p.get_data().values[0] for p in axes.patches}
    assert tops == {"set-up": 1.0, "training": 7.0, "scoring": 9.0, "other": 10.0}


# -- importance, numbers, scales -----------------------------------------------------------------


def test_importance_finds_an_optimum_inside_the_range() -> None:
    shares = importance(History.of(random_study(60, real), SPACE))
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.4 > 10 * max(list(shares.values())[1:]) / 3


def test_importance_of_a_category_and_of_constant_values() -> None:
    by_batch = [trial(float(b), params={"effective_batch": b}) for b in (8, 16, 32) * 4]
    assert importance(history_of(*by_batch))["effective_batch"] == pytest.approx(1.0)
    assert set(importance(history_of(*[trial(1.0)] * 9)).values()) == {0.0}


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
