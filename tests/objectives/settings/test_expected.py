"""`prior` of an entry of `[search]` and `[study] start`: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path

from experiment_files import write
import pytest

from objectives.errors import UserError
from objectives.settings.config import load_experiment
from objectives.settings.search.ranges import Expected


SEARCH = """
learning_rate = {low = 1e-5, high = 1e-2, log = true, prior = 4e-4}
rank = {choices = [4, 8, 16], prior = 8}
alpha = {low = 1, high = 64, prior = {at = 16, factor = 2}}
dropout = {low = 0.0, high = 0.5, prior = {at = 0.1, deviation = 0.05}}
rslora = {choices = [true, false], prior = true}
loraplus_lr_ratio = {low = 1, high = 32, prior = 16}
weight_decay = {low = 0.0, high = 0.1}
"""


def test_what_an_entry_expects(tmp_path: Path) -> None:
    found = load_experiment(write(tmp_path, search=SEARCH)).search.prior()
    assert found == {
        "learning_rate": Expected(4e-4),
        "rank": 8,
        "alpha": Expected(16, factor=2),
        "dropout": Expected(0.1, deviation=0.05),
        "rslora": True,
        "loraplus_lr_ratio": Expected(16),
    }


def test_a_prior_is_no_part_of_the_space(tmp_path: Path) -> None:
    """So a study goes on with another one."""
    without = SEARCH.replace(", prior = {at = 16, factor = 2}", "").replace(", prior = 8", "")
    (tmp_path / "a").mkdir()
    plain = load_experiment(write(tmp_path / "a", search=without))
    assert load_experiment(write(tmp_path, search=SEARCH)).search_space() == plain.search_space()


WRONG = {
    "outside": ("alpha", "{low = 1, high = 8, prior = 16}", "`prior` = 16 must lie within 1 to 8"),
    "a text": ("alpha", '{low = 1, high = 8, prior = "a"}', "must be a finite number, or a table"),
    "infinite": ("alpha", "{low = 1, high = 8, prior = inf}", "must be a finite number"),
    "no at": ("alpha", "{low = 1, high = 8, prior = {factor = 2}}", "under `at`"),
    "two widths": (
        "alpha",
        "{low = 1, high = 8, prior = {at = 2, factor = 2, deviation = 1}}",
        "must have `at`, and beside it one of `factor` and `deviation`",
    ),
    "an unknown key": ("alpha", "{low = 1, high = 8, prior = {at = 2, sd = 1}}", "must have `at`"),
    "no factor": ("alpha", "{low = 1, high = 8, prior = {at = 2, factor = 1}}", "`factor` must"),
    "no width": ("alpha", "{low = 1, high = 8, prior = {at = 2, deviation = 0}}", "`deviation` m"),
    "a factor of 0": ("dropout", "{low = 0, high = 0.5, prior = {at = 0, factor = 2}}", "be > 0"),
    "no choice": ("rank", "{choices = [4, 8], prior = 6}", "`prior` = 6 must be one of `choices`"),
    "weights": ("rank", "{choices = [4, 8], prior = {8 = 3}}", "must be one of `choices`"),
    "no such text": (
        "schedule",
        '{choices = ["linear", "cosine"], prior = "constant"}',
        "must be",
    ),
    "of a setting": ("clip", "{low = 1, high = 2, prior = 3}", "must lie within 1 to 2"),
}


@pytest.mark.parametrize(("name", "entry", "rule"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_prior_is_one_line(tmp_path: Path, name: str, entry: str, rule: str) -> None:
    with pytest.raises(UserError, match="1 problem") as caught:
        load_experiment(write(tmp_path, search=f"{name} = {entry}"))
    assert f"[search] {name}" in str(caught.value) and rule in str(caught.value)


STARTS = {
    "a name": ("{rnk = 8}", "`rnk` is not searched; did you mean rank?"),
    "a value": ("{rank = 128}", "`rank` = 128 is not within [search]; widen it there"),
    "no whole number": ("{rank = 8.5}", "`rank` = 8.5 is not within [search]"),
    "a text": ('{rank = "8"}', '`rank` = "8" is not within [search]'),
    "a truth value": ("{alpha = true}", "`alpha` = true is not within [search]"),
    "no choice": ("{rslora = 2}", "`rslora` = 2 is not within [search]"),
    "what is fixed": ("{dropout = 0.1}", "`dropout` is not searched"),
    "nan": ("{alpha = nan}", "`alpha` must be a number, a text, true or false"),
    "two values": ("{rank = 128, alpha = 0}", "`rank` = 128 and `alpha` = 0 are not within"),
    "a list": ("{rank = [8]}", "`rank` must be a number, a text, true or false"),
}


@pytest.mark.parametrize(("start", "rule"), STARTS.values(), ids=STARTS.keys())
def test_a_wrong_start_is_one_line(tmp_path: Path, start: str, rule: str) -> None:
    search = "dropout = 0.0\nrslora = {choices = [true, false]}"
    file = write(tmp_path, search=search, study=f"start = [{{rank = 8}}, {start}]")
    with pytest.raises(UserError, match=r"1 problem\n  \[study\] start(\.1)? = ") as caught:
        load_experiment(file)
    assert rule in str(caught.value)
