"""Trials of our samplers under another: they count where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
import itertools
from pathlib import Path
from typing import Any

from bowl import bowl
from bowl import coordinates
from bowl import copied
from bowl import FINITE
from bowl import OURS
from bowl import points
from bowl import SOURCES
from bowl import SPACE
from bowl import Space
from bowl import storage_of
from bowl import value
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


def searched(sampler: BaseSampler, n_trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=n_trials)
    return study


# ---- imported, and continued ----


@cache
def searched_by(source: str) -> optuna.Study:
    """One study for all that take its trials; NOMAD's process ends with its sampler."""
    study = searched(SOURCES[source](dict(SPACE)), 20)
    study.sampler = optuna.samplers.RandomSampler()
    return study


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", OURS)
def test_imported_trials_are_known_and_nothing_is_repeated(name: str, source: str) -> None:
    old = searched_by(source)
    new = optuna.create_study(sampler=OURS[name](dict(SPACE)))
    new.add_trials(old.trials)
    new.optimize(bowl, n_trials=30)
    assert {trial.state for trial in new.trials} == {TrialState.COMPLETE}
    assert len(set(coordinates(new)) - set(coordinates(old))) == 30
    assert new.best_value <= old.best_value


def each_after_each(names: list[str]) -> Iterator[str]:
    """Every name once after every other and after itself: a sequence of de Bruijn."""
    for i, first in enumerate(names):
        yield first
        for second in names[i + 1 :]:
            yield from (first, second)
    yield names[0]


@pytest.mark.parametrize(("kind", "n"), [("memory", 2), ("sqlite", 1), ("journal", 1)])
def test_a_study_goes_on_with_each_of_our_samplers_after_each(
    kind: str, n: int, tmp_path: Path
) -> None:
    study = optuna.create_study(storage=storage_of(kind, tmp_path))
    turns = list(each_after_each(list(OURS)))
    assert {*itertools.pairwise(turns)} == {*itertools.product(OURS, OURS)}
    for name in turns:
        study.sampler = OURS[name](dict(SPACE))
        study.optimize(bowl, n_trials=n)
    assert len(set(coordinates(study))) == n * len(turns)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, "memory") for name in OURS] + [("soo", "sqlite"), ("soo", "journal")]
)
def test_trials_imported_into_the_same_rule_and_space_go_on_as_if_there(
    name: str, kind: str, tmp_path: Path
) -> None:
    """Under other numbers: a log names none."""
    whole = searched(OURS[name](dict(SPACE)), 30)
    new = optuna.create_study(storage=storage_of(kind, tmp_path), sampler=OURS[name](dict(SPACE)))
    new.add_trial(create_trial(state=TrialState.FAIL))
    new.add_trials(searched(OURS[name](dict(SPACE)), 20).trials)
    new.optimize(bowl, n_trials=10)
    assert points(new)[1:] == points(whole)


@pytest.mark.parametrize("name", OURS)
def test_trials_imported_twice_change_nothing(name: str) -> None:
    old = searched(SOOSampler(search_space=dict(SPACE)), 25)
    once, twice = (optuna.create_study(sampler=OURS[name](dict(SPACE))) for _ in range(2))
    once.add_trials(old.trials)
    twice.add_trials(old.trials + old.trials)
    for study in (once, twice):
        study.optimize(bowl, n_trials=10)
    if name.startswith("bamsoo"):  # its model counts values, not points
        assert not set(coordinates(twice)[50:]) & set(coordinates(old))
    else:
        assert points(once)[25:] == points(twice)[50:]


@pytest.mark.parametrize("name", OURS)
def test_a_part_of_a_study_is_imported_as_well(name: str) -> None:
    """Cells are open then in whose centres nothing is known."""
    old = searched(OURS[name](dict(SPACE)), 40).trials
    best = sorted(old, key=lambda trial: trial.value or 0.0)[:6]
    new = optuna.create_study(sampler=OURS[name](dict(SPACE)))
    new.add_trials(best)
    new.optimize(bowl, n_trials=30)
    assert len(set(coordinates(new))) == 36


INTEGERS: Space = {"x": IntDistribution(0, 20), "y": IntDistribution(0, 20)}
"""Points of NOMAD are centres of cells as well."""


def fails(trial: optuna.Trial) -> float:
    x, y = trial.suggest_int("x", 0, 20), trial.suggest_int("y", 0, 20)
    return float("nan") if (x + y) % 3 == 1 else float(abs(x - 7) + abs(y - 12))


@cache
def failed_by(source: str) -> optuna.Study:
    """One study for all that take its trials, as `searched_by` has."""
    study = optuna.create_study(sampler=SOURCES[source](dict(INTEGERS)))
    study.optimize(fails, n_trials=25)
    study.sampler = optuna.samplers.RandomSampler()
    return study


@pytest.mark.parametrize(
    ("name", "source"),
    [(name, name) for name in OURS]
    + [*itertools.pairwise([*OURS, "soo"])]  # each rule's trials under one other
    + [(name, "nomad") for name in OURS]
    + [("nomad", "soo")],
)
def test_a_point_that_failed_elsewhere_is_not_tried_again(name: str, source: str) -> None:
    old = failed_by(source)
    assert {trial.state for trial in old.trials} == {TrialState.COMPLETE, TrialState.FAIL}
    new = optuna.create_study(sampler=SOURCES[name](dict(INTEGERS)))
    new.add_trials(old.trials)
    new.optimize(fails, n_trials=12 if name == "nomad" else 100)
    assert not set(coordinates(old)) & set(coordinates(new)[25:])


@pytest.mark.parametrize("name", ["soo", "direct-l"])
def test_a_point_that_failed_before_its_last_parameter_is_not_tried_again(name: str) -> None:
    def fails(trial: optuna.Trial) -> float:
        if trial.suggest_int("x", 0, 8) > 5:
            raise ValueError
        return float(trial.suggest_int("y", 0, 5))

    study = optuna.create_study(sampler=OURS["direct"](dict(FINITE)))
    study.optimize(fails, n_trials=30, catch=ValueError)
    study.sampler = OURS[name](dict(reversed(FINITE.items())))
    study.optimize(fails, n_trials=24, catch=ValueError)
    asked = [trial.system_attrs["partition"]["cell"] for trial in study.trials]
    assert len({(cell["x"], cell["y"]) for cell in asked if cell["x"] > "6"}) == 18
    assert sum(cell["x"] > "6" for cell in asked) == 18


def test_a_design_that_was_imported_in_part_is_continued() -> None:
    whole, old, new = (optuna.create_study(sampler=SOURCES["lhs"](dict(SPACE))) for _ in range(3))
    whole.optimize(bowl, n_trials=20)
    old.optimize(bowl, n_trials=8)
    new.add_trials(old.trials)
    new.optimize(bowl, n_trials=12)
    assert points(new) == points(whole)


def test_nomad_goes_on_after_an_import_as_if_there() -> None:
    whole, old, new = (
        optuna.create_study(sampler=SOURCES["nomad"](dict(SPACE))) for _ in range(3)
    )
    whole.optimize(bowl, n_trials=20)
    old.optimize(bowl, n_trials=8)
    new.add_trials(old.trials)
    new.optimize(bowl, n_trials=12)
    assert points(new) == points(whole)


# ---- logs that cannot be read, and what is said ----


@pytest.mark.parametrize("name", ["soo", "direct-l", "bamsoo"])
@pytest.mark.parametrize(
    "log",
    [
        {"rule": "soo", "version": 7},
        {"rule": "soo", "space": "0", "cell": {"x": "a.b"}, "opened": [], "cursor": []},
        {"rule": "soo", "space": "0", "cell": [1, 2], "opened": {}, "cursor": None},
    ],
)
def test_a_log_that_cannot_be_read_counts_by_where_its_trial_lies(
    name: str, log: dict[str, Any]
) -> None:
    """A later version may write what this one does not know."""
    old = searched(SOOSampler(search_space=dict(SPACE)), 10)
    new = optuna.create_study(sampler=OURS[name](dict(SPACE)))
    new.add_trials([copied(trial, system_attrs={"partition": log}) for trial in old.trials])
    new.optimize(bowl, n_trials=20)
    assert len(set(coordinates(new))) == 30


@pytest.mark.parametrize(
    "more",
    [{"cursor": []}, {"cursor": [1, 2, 3, 4, 5, 6, 7]}, {"opened": ["1.1"]}, {"point": 3}],
    ids=str,
)
def test_so_does_one_whose_fields_hold_something_else(more: dict[str, Any]) -> None:
    old = searched(SOOSampler(search_space=dict(SPACE)), 10)
    new = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    logs = [{"partition": {**trial.system_attrs["partition"], **more}} for trial in old.trials]
    new.add_trials([copied(t, system_attrs=log) for t, log in zip(old.trials, logs, strict=True)])
    new.optimize(bowl, n_trials=20)
    assert len(set(coordinates(new))) == 30


def told_by(caplog: pytest.LogCaptureFixture, study: optuna.Study, n_trials: int) -> list[str]:
    caplog.clear()
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: value(trial, dict(SPACE)), n_trials=n_trials)
    optuna.logging.disable_propagation()
    told = {id(record): record.getMessage() for record in caplog.records}
    return [message for message in told.values() if "where trials lie" in message]


def test_another_rule_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    study = searched(SOOSampler(search_space=dict(SPACE)), 7)
    study.sampler = DIRECTSampler(search_space=dict(SPACE))
    (message,) = told_by(caplog, study, 3)
    assert message.startswith("7 of 8 trials were asked for by `soo`; `DIRECTSampler` asks by")
    assert told_by(caplog, study, 3) == []


def test_an_import_in_the_middle_is_said(caplog: pytest.LogCaptureFixture) -> None:
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    assert told_by(caplog, study, 3) == []
    study.add_trials(searched(DIRECTSampler(search_space=dict(SPACE)), 4).trials)
    study.add_trials(searched(optuna.samplers.RandomSampler(), 4).trials)
    (message,) = told_by(caplog, study, 3)
    assert message.startswith("4 of 12 trials were asked for by `direct locally_biased=True")


def test_another_space_is_said_by_its_difference() -> None:
    study = searched(SOOSampler(search_space=dict(SPACE)), 5)
    study.add_trials(searched(DIRECTSampler(search_space=dict(SPACE)), 2).trials)
    backwards = dict(reversed(SPACE.items()))
    study.add_trials(searched(SOOSampler(search_space=backwards), 3).trials)
    wide = {**SPACE, "x": FloatDistribution(-1, 3), "z": CategoricalDistribution("ab")}
    assert SOOSampler(search_space=dict(SPACE)).misfits(study) == (
        "2 of 10 trials were asked for by `direct locally_biased=True epsilon=0.0001` and "
        "3 by `soo` over the order lr, n, x"
    )
    over = f"over another space (x={SPACE['x']}, without z)"
    assert SOOSampler(search_space=wide).misfits(study) == (
        f"8 of 10 trials were asked for by `soo` {over} and "
        f"2 by `direct locally_biased=True epsilon=0.0001` {over}"
    )


def test_what_goes_on_as_it_began_is_no_misfit() -> None:
    study = searched(SOOSampler(search_space=dict(SPACE)), 5)
    study.add_trials(searched(optuna.samplers.RandomSampler(), 4).trials)
    assert SOOSampler(search_space=dict(SPACE)).misfits(study) == ""
    assert SOOSampler().misfits(study) == "", "an inferred space is another one now and then"
    assert SOOSampler().misfits(optuna.create_study()) == ""
    assert DIRECTSampler().misfits(study).startswith("5 of 9 trials were asked for by `soo`")
