"""The report of every study there can be is written, true, and self-contained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
import math
from pathlib import Path
import re
from typing import Any

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
from trials import random_study
from trials import real
from trials import SPACE
from trials import study_of
from trials import trial

from objectives.errors import UserError
from objectives.report import page
from objectives.report.given import Belief
from objectives.report.given import CellBox
from objectives.report.given import FinalRow
from objectives.report.given import Told
from objectives.report.history import History
from objectives.report.history import importance
from objectives.report.report import _sections
from objectives.report.report import write_report


FINAL = [
    FinalRow("base", None, 4.41, {"mc": (0.262, 0.0115)}),
    FinalRow("trial 7", 2.1, 2.1, {"mc": (0.387, 0.0131)}),
]


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
    told = Told(**{name: more.pop(name) for name in Told.__annotations__ if name in more})
    path = write_report(study, folder, title="T", space=space, told=told, **more)
    assert Page(path).open == []
    return path.read_text(encoding="utf-8")


def told(study: optuna.Study, **more: Any) -> str:
    """The page in words: its figures have their headings and captions, and are not drawn."""
    final, beliefs = more.pop("final", ()), more.pop("beliefs", ())
    chosen = beliefs[0].trial if beliefs else None
    space = more.pop("space", {"rank": SPACE["rank"]})
    history = History.of(study, space, more.pop("value_name", "value"), chosen)
    shares, closing = importance(history), more.pop("closing", "")
    assert not more
    sections = [
        page.figure(each.slug, each.heading, each.caption, "", "")
        for each in _sections(history, shares, (), None, final)
    ]
    given = Told(final=final, beliefs=beliefs, closing=closing)
    return page.render("T", history, shares, sections, given)


# -- the whole report ----------------------------------------------------------------------------


def test_full_report_is_one_self_contained_page_with_pictures_beside_it(tmp_path: Path) -> None:
    cells = [CellBox({"learning_rate": i / 3}, {"learning_rate": (i + 1) / 3}) for i in range(3)]
    study = random_study(40, with_losses)
    given = {"settings": {"model": "m"}, "value_name": "loss on m", "closing": "Go on."}
    beliefs = [Belief(7, study.trials[7].value or 0.0, 0.875, 0.75, 1.25, 1)]
    text = write(study, tmp_path, space=SPACE, cells=cells, final=FINAL, beliefs=beliefs, **given)
    assert "<span>best loss on m</span>" in text and "<h2>Next</h2><p>Go on.</p>" in text
    assert "<th>model</th><td>m</td>" in text and "<h2>Learning curves</h2>" in text
    assert "<h2>Answers</h2>" not in text
    assert "0.75000 to 1.2500" in text and "</b><span>trial 7</span>" in text
    page = Page(tmp_path / "report.html")
    assert len(page.addresses) == 14  # seven figures, each for screen and phone
    assert all(a.startswith("data:image/svg+xml;base64,") for a in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    names = "final_scores learning_curves parameters_by_trial parameters_by_value partition"
    pictures = sorted(tmp_path.glob("*.png"))
    assert [p.stem for p in pictures] == [*names.split(), "progress", "times"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width == 2000
            assert len(image.convert("RGB").getcolors(10**6) or []) > 20


def with_losses(trial: optuna.Trial) -> float:
    """Each trial of them has learned the same."""
    trial.set_user_attr("validation_losses", [[5, 3.0], [10, 2.0]])
    return real(trial)


def test_text_of_the_report() -> None:
    why = {"failure": "loss was nan"}
    failure = trial(None, TrialState.FAIL, user_attrs=why, seconds=0)
    text = told(study_of(trial(2.5, seconds=90), trial(2.123456789, seconds=90), failure))
    assert "<b>2.1235</b><span>trial 1</span>" in text
    assert "2 complete, 1 failed" in text
    assert "<b>3 min</b><span>1 min 30 s per complete trial</span>" in text
    assert "loss was nan" in text
    assert '<tr class="best"><td class="n">1</td>' in text


def test_the_best_trials_stand_beside_what_is_expected_of_them() -> None:
    study = study_of(*(trial(value) for value in (2.5, 2.0, 2.25, 2.75, 3.0, 3.5, 1.5)))
    believed = [2, 1, 0, 3, 4, 5, 6]
    beliefs = [
        Belief(i, study.trials[i].value or 0.0, 2.3 + n, 2.2 + n, 2.4 + n, 1 + n)
        for n, i in enumerate(believed)
    ]
    text = told(study, beliefs=beliefs)
    best = text[text.index("<h2>Best trials</h2>") : text.index("<h2>All trials</h2>")]
    rows = re.findall(r'<tr class="(.*?)">(.*?)</tr>', best)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for _, row in rows]
    assert cells[0] == ["2", "2.2500", "2.3000", "2.2000 to 2.4000", "1"]
    assert [row[0] for row in cells] == ["2", "1", "0", "3", "4", "6"], "the luckiest is there"
    assert [look for look, _ in rows] == ["best", *[""] * 5]
    assert "<b>2.2500</b><span>trial 2</span>" in text
    assert "Best trials" not in told(study)


def heads(text: str) -> list[list[str]]:
    """The column heads of each table."""
    tops = re.findall(r"<thead>(.*?)</thead>", text)
    return [re.findall(r"<th[^>]*>(.*?)</th>", top) for top in tops]


def test_the_value_has_its_name_everywhere() -> None:
    text = told(study_of(trial(2.5)), value_name="acc on mc", closing="Run <it>.")
    assert "Acc on mc, minimised" in text and "<span>best acc on mc</span>" in text
    assert "Parameters and acc on mc" in text and heads(text)[-1][2] == "acc on mc"
    assert text.index("<h2>Next</h2><p>Run &lt;it&gt;.</p>") > text.index("All trials")
    assert "<h2>Next</h2>" not in told(study_of(trial(2.5)))


def test_what_a_final_row_shows_anyway_is_not_shown_again() -> None:
    """A value that is the validation loss, but for rounding, or the score on one of the tasks."""
    study = study_of(trial(2.0))
    assert heads(told(study, final=FINAL))[0] == ["", "validation loss", "mc"]
    scored = [FINAL[0], replace(FINAL[1], value=0.387)]
    assert heads(told(study, final=scored))[0] == ["", "validation loss", "mc"]
    rounded = [FINAL[0], replace(FINAL[1], value=2.15)]
    text = told(study, final=rounded, value_name="validation loss")
    assert heads(text)[0] == ["", "validation loss", "mc"]
    other = [FINAL[0], replace(FINAL[1], value=0.7)]
    assert heads(told(study, final=other))[0] == ["", "value", "validation loss", "mc"]


def test_marks_are_explained_where_there_are_some() -> None:
    text = told(study_of(trial(2.0), trial(None, **PRUNED)))
    assert "Rings are pruned trials." in text and "Crosses" not in text
    why = {"failure": "loss was nan"}
    text = told(study_of(trial(2.0), trial(None, TrialState.FAIL, user_attrs=why)))
    assert "Crosses are failed trials." in text and "Rings" not in text


def test_what_was_interrupted_has_not_failed() -> None:
    text = told(study_of(trial(2.0), trial(None, TrialState.FAIL)))
    assert "1 complete, 1 interrupted" in text and '<td class="">interrupted</td>' in text
    assert "failed" not in text


def test_final_scores_stand_beside_the_base() -> None:
    text = told(study_of(trial(2.0)), final=FINAL)
    assert '<section id="final_scores">' in text
    assert "0.2620 ± 0.0115" in text
    assert "0.3870 ± 0.0131<br><small>+0.1250</small>" in text


def test_final_rows_without_scores_make_a_table_only() -> None:
    text = told(study_of(trial(2.0)), final=[FinalRow("base", None, 4.5, {})])
    assert "4.5000" in text and '<section id="final_scores">' not in text


def test_each_task_of_a_mean_has_its_column() -> None:
    scores = {"mmlu": (0.25, 0.01), "arc": (0.75, 0.02)}
    study = study_of(trial(0.5, user_attrs={"scores": scores}), trial(None, TrialState.FAIL))
    table = told(study, space=SPACE).partition("<h2>All trials</h2>")[2]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table)
    assert heads[2:6] == ["value", "arc", "mmlu", "time"]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr")[2:]]
    assert [row[2:5] for row in rows] == [["0.50000", "0.75000", "0.25000"], ["–"] * 3]


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
        cells=[CellBox({}, {})],
        told=Told([FinalRow(evil, 1.0, 1.0, {evil: (0.5, 0.1)})], settings={evil: evil}),
    )
    assert "script" not in Page(path).tags
    assert path.read_text(encoding="utf-8").count("&lt;script&gt;") > 8


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    assert "<b>1.0000</b>" not in write(study_of(), tmp_path)
    assert "<b>1.0000</b>" in write(study_of(trial(2.0), trial(1.0)), tmp_path, space={})


def test_folder_that_is_a_file_is_the_users_mistake(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="--output: .*file cannot be written .* give another"):
        write(study_of(), blocked)


# -- every study there can be --------------------------------------------------------------------

PRUNED = {"state": TrialState.PRUNED, "intermediate_values": {1: 3.0}}
FAR = [trial(1e308), trial(-1e308), trial(1e30), trial(2.0)]
NONSENSE = {"seconds_setup": "long", "seconds_training": math.nan}
OUTSIDE = {"params": {"rank": 99}, "space": SPACE | {"rank": IntDistribution(1, 99)}}
STUDIES: dict[str, list[FrozenTrial]] = {
    "empty": [],
    "one trial": [trial(2.0)],
    "constant, nonsense times": [trial(2.0, user_attrs=NONSENSE)] * 5,
    "zero": [trial(0.0)] * 3,
    "all failed": [trial(None, TrialState.FAIL)] * 3,
    "pruned only": [trial(None, **PRUNED)] * 3,
    "pruned unreported": [trial(None, TrialState.PRUNED)],
    "waiting": [trial(None, TrialState.WAITING)],
    "running, outside": [trial(None, TrialState.RUNNING), trial(1.0, **OUTSIDE)],
    "infinite": [trial(math.inf), trial(-math.inf), trial(2.0)],
    "infinite only": [trial(math.inf)] * 3,
    "huge": FAR,
    "infinite and huge": [trial(math.inf), trial(-math.inf), *FAR],
    "tiny differences": [trial(1.0), trial(1.0 + 1e-15), trial(1.0 - 1e-15)],
    "no such parameters": [
        create_trial(value=1.0),
        create_trial(value=2.0, params={"x": 1}, distributions={"x": IntDistribution(0, 3)}),
    ],
}


MAXIMISED = ("one trial", "all failed", "infinite and huge")
"""Of these the edges depend on the direction, or nothing does; the others are minimised."""


@pytest.mark.parametrize("name", STUDIES)
def test_report_of_any_study(name: str, tmp_path: Path) -> None:
    direction = "maximize" if name in MAXIMISED else "minimize"
    study = study_of(*STUDIES[name], direction=direction)
    text = write(study, tmp_path, cells=[CellBox({}, {})])
    assert text.count('<td class="n">') >= len(STUDIES[name])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FloatDistribution(0.25, 0.25), FloatDistribution(-3.0, 1e6, step=0.5)),
        (FloatDistribution(1e-3, 1e-3, log=True), IntDistribution(0, 1)),
        (IntDistribution(3, 1000, log=True), FloatDistribution(1e-3, 1.1e-3, log=True)),
        (IntDistribution(7, 7), CategoricalDistribution([True, "a", 0.5, None])),
        (
            CategoricalDistribution([f"a very long category {i}" for i in range(40)]),
            CategoricalDistribution([None]),
        ),
    ],
    ids=str,
)
def test_report_of_any_parameter(
    first: BaseDistribution, second: BaseDistribution, tmp_path: Path
) -> None:
    """Two at a time, which are the two sides of the partition."""
    space, study = {"x": first, "y": second}, optuna.create_study()
    columns = [values_of(each) for each in space.values()]
    for number in range(max(map(len, columns))):
        params = {n: c[number % len(c)] for n, c in zip(space, columns, strict=True)}
        study.add_trial(create_trial(params=params, distributions=space, value=number))
    cells = [CellBox({"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 1.0})]
    text = write(study, tmp_path, space=space, cells=cells)
    assert "projected on x and y" in text or "projected on y and x" in text
    assert (tmp_path / "partition.png").exists()


def values_of(distribution: BaseDistribution) -> Sequence[Any]:
    """Its choices or its bounds."""
    choices = getattr(distribution, "choices", None)
    return choices or (distribution.low, distribution.high)  # type: ignore[attr-defined]
