"""When a search ends: trials, trainings, time; by hand-made trials and a clock of our own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trials import study_of
from trials import trial

from objectives.result.final import BASE_EXAM
from objectives.result.final import base_exam
from objectives.result.final import DEFAULTS
from objectives.settings.read_plan import read_plan
from objectives.tune import limits
from objectives.tune.ending import more
from objectives.tune.limits import Limits
from objectives.tune.progress import finished
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


FILE = Path(__file__).parents[3] / "examples" / "standin.toml"  # trials = 20, best = 3, one test
NOW = 1_000_000.0
SCORES = {"standin_test": (0.5, 0.1)}
ROW = {"name": "base", "value": None, "validation_loss": 3.0, "scores": SCORES, "metrics": {}}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; a test moves it on."""
    now = [NOW]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def of(study: optuna.Study, *arguments: str) -> Limits:
    return Limits(read_plan([str(FILE), *arguments], SAMPLERS, PRUNERS), study)


def wanted(study: optuna.Study, *arguments: str) -> float:
    return of(study, *arguments).wanted(finished(study))


def steps(
    done: int, in_all: int, state: TrialState = TrialState.PRUNED, **more: Any
) -> FrozenTrial:
    attributes = {"steps": done, "steps_in_all": in_all, **more}
    value = 1.0 if state is TrialState.COMPLETE else None
    return trial(value, state, user_attrs=attributes, seconds=10)


def test_trials_and_budget_end_it_by_what_comes_first() -> None:
    study = study_of(*[trial(1.0, seconds=10) for _ in range(5)])
    assert wanted(study) == 15, "the file's 20"
    assert wanted(study, "--trials", "7") == 2
    assert wanted(study, "--budget", "3h") == math.inf, "a budget alone knows no number"
    assert wanted(study, "--budget", "3h", "--trials", "7") == 2
    assert wanted(study, "--budget", "9 trainings") == 4
    assert wanted(study, "--budget", "9trainings", "--trials", "6") == 1


def test_the_files_trials_and_budget_hold_together(tmp_path: Path) -> None:
    """And a budget on the command line sets the file's trials aside."""
    text = FILE.read_text().replace('name = "standin"', 'name = "standin"\nbudget = "3h"')
    (tmp_path / "standin").symlink_to(FILE.parent / "standin")
    file = tmp_path / "both.toml"
    file.write_text(text)
    for given, trials, budget in (
        ([], 20, "3h"),
        (["--trials", "5"], 5, "3h"),
        (["--budget", "1h"], None, "1h"),
    ):
        plan = read_plan([str(file), *given], SAMPLERS, PRUNERS)
        assert (plan.trials, plan.settings.budget) == (trials, budget)


def test_no_trial_begins_that_may_not_end_in_time(clock: list[float]) -> None:
    """Nine of ten took 10 s at most; that one in ten takes long does not count."""
    study = study_of(*[trial(1.0, seconds=s) for s in [2] * 10 + [10] * 8 + [500]])
    plan = of(study, "--budget", "100s", "--search-only")
    done = finished(study)
    assert plan.wanted(done) == math.inf
    clock[0] = NOW + 89
    assert plan.wanted(done) == math.inf
    clock[0] = NOW + 91
    assert plan.wanted(done) == 0
    said = "9.0 s left of 100s, and the next trial may take 10 s"
    assert plan.why_ended(False) == said and plan.left(done) == "9.0 s left of 100s"
    assert plan.end() == NOW + 100, "what runs may run until then"


def test_the_last_trials_say_what_is_expected() -> None:
    """By their end: the machine, or the pruner, was another one before."""
    slow = [trial(1.0, seconds=1000) for _ in range(30)]
    fast = [trial(1.0, seconds=10) for _ in range(limits.RECENT_TRIALS)]
    for each in fast:
        assert each.datetime_start is not None and each.datetime_complete is not None
        each.datetime_start += timedelta(hours=1)
        each.datetime_complete += timedelta(hours=1)
    arguments = ("--budget", "100s", "--search-only")
    assert wanted(study_of(*slow), *arguments) == 0
    assert wanted(study_of(*fast, *slow), *arguments) == math.inf
    assert wanted(study_of(*slow, *fast[3:]), *arguments) == 0


def test_the_first_trials_begin_as_long_as_there_is_time(clock: list[float]) -> None:
    plan = of(optuna.create_study(), "--budget", "100s", "--search-only")
    clock[0] = NOW + 99
    assert plan.wanted([]) == math.inf
    clock[0] = NOW + 100
    assert plan.wanted([]) == 0 and plan.why_ended(False) == "0.0 s left of 100s"


def with_exam(trials: Sequence[FrozenTrial], seconds: float) -> optuna.Study:
    study = study_of(*trials)
    study.set_user_attr(BASE_EXAM, {"row": ROW, "seconds": seconds, "loading": 30.0})
    return study


def test_the_final_test_s_time_is_kept_back(clock: list[float]) -> None:
    """Four adapters' exams with room for error, one training, loading, the report."""
    took = {"seconds_setup": 1.0, "seconds_training": 59.0, "steps": 40, "steps_in_all": 40}
    whole = trial(1.0, user_attrs=took, seconds=61)
    half = trial(
        None,
        TrialState.PRUNED,
        user_attrs={"seconds_training": 25.0, "steps": 10, "steps_in_all": 40},
        seconds=25,
    )
    short = trial(1.0, user_attrs=took | {"seconds_training": 1.0}, seconds=2)
    for trials, training in (([whole], 60), ([whole, half], 100), ([short, half, half], 100)):
        study = with_exam(trials, seconds=10)
        kept = limits.REPORT_SECONDS + 30 + 4 * limits.SLOWER * 10 + training
        assert of(study, "--budget", "1h").end() == NOW + 3600 - kept
        assert of(study, "--budget", "1h", "--search-only").end() == NOW + 3600
        assert of(study, "--until", "1003600").end() == math.inf, "there is no budget of time"
        worker = of(study, "--budget", "3h", "--search-only", "--until", "1003600")
        assert worker.end() == NOW + 3600 - kept, "as its command's"
    none = with_exam([half], seconds=10)
    assert of(none, "--budget", "1h").end() == NOW + 3600 - limits.REPORT_SECONDS, "no value yet"
    assert base_exam(study, ["standin_test", "another"]) is None, "it is to be made again"
    study = with_exam([whole], seconds=1000)
    assert of(study, "--budget", "1h").end() == NOW + 1800, "the search has half of it"
    plan = of(study, "--budget", "1h")
    clock[0] = NOW + 2550
    assert plan.in_time_for("trial 0") and not plan.in_time_for(DEFAULTS)
    clock[0] = NOW + 2650
    assert not plan.in_time_for("trial 0")


def test_without_a_final_test_the_report_s_time_is_kept_back(tmp_path: Path) -> None:
    (tmp_path / "standin").symlink_to(FILE.parent / "standin")
    file = tmp_path / "untested.toml"
    file.write_text(FILE.read_text().replace('test = ["standin_test"]', "test = []"))
    plan = read_plan([str(file), "--budget", "1h"], SAMPLERS, PRUNERS)
    limit = Limits(plan, optuna.create_study())
    assert limit.end() == NOW + 3600 - limits.REPORT_SECONDS


def test_a_pruned_trial_counts_as_the_share_that_was_done() -> None:
    done = [steps(40, 40, TrialState.COMPLETE), *[steps(1, 4)] * 6, *[steps(9, 12)] * 2]
    study = study_of(*done)
    assert wanted(study, "--budget", "6trainings") == 2, "6 - 1 - 1.5 - 1.5, a whole one each"
    limit = of(study, "--budget", "4 trainings")
    assert (
        limit.left(finished(study)) == "0 of 4 trainings left"
        and limit.why_ended(False) is not None
    )
    assert wanted(study_of(*[steps(1, 4)] * 20), "--budget", "6trainings") == 4, "a quarter each"


def test_failures_use_a_budget_up() -> None:
    failed = [trial(None, TrialState.FAIL, user_attrs={"failure": "nan"}) for _ in range(3)]
    interrupted = trial(None, TrialState.FAIL)
    study = study_of(*failed, interrupted)
    assert wanted(study, "--budget", "5trainings") == 2


def test_a_training_in_two_trials_counts_once() -> None:
    """The second went on from where the first was pruned, or from where one was cut off."""
    went_on = steps(40, 40, TrialState.COMPLETE, resumed_at=10)
    assert wanted(study_of(steps(10, 40), went_on), "--budget", "3trainings") == 2
    assert wanted(study_of(steps(20, 40), went_on), "--budget", "3trainings") == 1
    assert wanted(study_of(went_on), "--budget", "3trainings") == 2


def test_why_it_ended_is_said_where_it_does_not_go_without_saying() -> None:
    study = study_of(*[trial(1.0, seconds=10) for _ in range(5)])
    assert of(study).why_ended(False) is None
    by_trials = of(study, "--budget", "9trainings", "--trials", "5").why_ended(False)
    assert by_trials == "5 trials are finished; 4 of 9 trainings left"
    used_up = of(study, "--budget", "9trainings").why_ended(True)
    assert used_up == "every point of the search space is evaluated; 4 of 9 trainings left"
    assert of(study).why_ended(True) == "every point of the search space is evaluated"


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        (("--trials", "5"), " with --trials 10"),
        (("--trials", "2"), " with --trials 10"),
        (("--trials", "40"), " with --trials 80"),
        (("--budget", "1h", "--trials", "5"), " with --trials 10"),
        (("--budget", "1h", "--trials", "40"), " again"),
        (("--budget", "1h"), " again"),
        (("--budget", "2trainings"), " with --budget 10trainings"),
        (("--budget", "8trainings"), " with --budget 16trainings"),
        (("--budget", "8trainings", "--trials", "5"), " with --trials 10"),
    ],
)
def test_what_adds_trials_is_said(arguments: tuple[str, ...], added: str) -> None:
    """To a study with five."""
    plan = read_plan([str(FILE), *arguments], SAMPLERS, PRUNERS)
    study = study_of(*[trial(1.0) for _ in range(5)])
    assert more(plan, study) == added
    said = arguments if added == " again" else added.removeprefix(" with ").split()
    assert wanted(study, *said) > 0, "it is so"
