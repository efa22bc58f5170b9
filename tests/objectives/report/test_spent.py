"""Steps and device-hours of studies whose sums are done by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trials import study_of
from trials import trial

from objectives.report.given import Told
from objectives.report.report import write_report
from objectives.report.spent import shares
from objectives.report.spent import Spent
from objectives.report.spent import spent


WHOLE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def of(
    state: TrialState, steps: int, seconds: float, in_all: int = 40, **more: Any
) -> FrozenTrial:
    """A trial of so many steps, in so many seconds of training and one of set-up."""
    told = {"steps": steps, "steps_in_all": in_all, "seconds_training": seconds, **more}
    value = 1.0 if state is WHOLE else None
    rank = more.get("rank", 8)
    own = {"rank": rank}
    return trial(value, state, params=own, user_attrs=told, seconds=seconds + 1)


def test_without_a_pruner_nothing_is_saved() -> None:
    done = [of(WHOLE, 40, 80), of(WHOLE, 10, 20, in_all=10, rank=2)]
    assert spent(done) == Spent(50, 50, 81 + 21, 0)
    assert shares(done) == [1, 1]


def test_a_pruned_trial_saves_the_rest_at_its_own_pace() -> None:
    """10 of 40 steps in 30 s: 90 s more; on two devices 180."""
    done = [of(WHOLE, 40, 80), of(PRUNED, 10, 30, rank=2), of(PRUNED, 10, 30, devices=2, rank=3)]
    assert spent(done) == Spent(60, 120, 81 + 31 + 62, 90 + 180)
    assert shares(done) == [1, 0.25, 0.25]


def test_a_training_in_several_trials_counts_once() -> None:
    """Pruned after 10 steps, after 20, and done: its seconds are those of each."""
    first = of(PRUNED, 10, 10)
    second = of(PRUNED, 20, 12, resumed_at=10)
    third = of(WHOLE, 40, 99, resumed_at=20)
    assert spent([first]) == Spent(10, 40, 11, 30)
    assert spent([first, second]) == Spent(20, 40, 11 + 13, 20 * 1.2)
    assert spent([first, second, third]) == Spent(40, 40, 11 + 13 + 100, 0)
    assert shares([first, second, third]) == [0.25, 0.25, 0.5]
    other = of(WHOLE, 40, 99, resumed_at=10, rank=3)
    assert spent([first, other]) == Spent(50, 80, 111, 30), "that was cut off, not pruned"


def test_a_trial_of_a_pack_has_its_share_of_the_device() -> None:
    """Three at once, which took a minute from begin to end and 20 s each."""
    done = [of(WHOLE, 40, 59, pack=3, rank=rank) for rank in (2, 3, 4)]
    for each in done:
        each.user_attrs |= {"seconds_training": 17, "seconds_setup": 1, "seconds_scoring": 2}
    assert spent(done).seconds == 60


def test_a_trial_of_a_pack_that_failed_has_an_equal_share() -> None:
    """It diverged or was interrupted, and has kept no part of its minute."""
    diverged = trial(None, FAILED, user_attrs={"pack": 3, "failure": "nan"}, seconds=60)
    interrupted = trial(None, FAILED, user_attrs={"pack": 2}, seconds=60)
    assert spent([diverged, interrupted]).seconds == 20 + 30


def test_trials_that_say_nothing_and_those_that_failed() -> None:
    silent = trial(1.0, seconds=10)
    strange = trial(1.0, user_attrs={"steps": "many", "devices": None}, seconds=10)
    failed = of(FAILED, 10, 30, failure="nan")
    running = trial(None, TrialState.RUNNING)
    assert spent([silent, strange, failed, running]) == Spent(0, 0, 51, 0)
    assert shares([silent, strange, failed]) == [1, 1, 1]


@pytest.mark.parametrize(
    ("done", "steps", "hours"),
    [
        (
            [of(WHOLE, 4000, 7199, in_all=4000), of(PRUNED, 1000, 1799, in_all=4000, rank=2)],
            "<b>5,000</b><span>62% of 8,000 without stopping</span>",
            "<span>GPU-hours</span><b>2.5</b><span>1.5 saved by stopping</span>",
        ),
        (
            [of(WHOLE, 40, 71)],
            "<b>40</b><span>100% of 40 without stopping</span>",
            "<span>GPU-hours</span><b>0.02</b><span>none was stopped</span>",
        ),
    ],
)
def test_the_first_screen_says_it(
    done: list[FrozenTrial], steps: str, hours: str, tmp_path: Path
) -> None:
    page = write_report(study_of(*done), tmp_path, title="T", space={}, told=Told(device="GPU"))
    text = page.read_text()
    assert steps in text and hours in text
    assert text.index(hours) < text.index("<h2>All trials</h2>")


def test_a_study_of_something_else_has_no_such_tile(tmp_path: Path) -> None:
    page = write_report(study_of(trial(1.0, seconds=10)), tmp_path, title="T", space={})
    assert "device-hours" not in page.read_text()
