"""A trial that is never told: what is lost by it is its point, and not the cell around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import random
from typing import Any

from bowl import every_sampler
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._core import cells
from optuna_partition._core.tree import Tree
from optuna_partition._rules.direct import DIRECT
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.soo import SOO
from optuna_partition._space.space import Space
from optuna_partition._study.fold.history import History


SPACE: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in "xy"}
RULES = {"soo": SOO(), "direct-l": DIRECT(True, 1e-4), "direct": DIRECT(False, 1e-4)}


def value(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.3) ** 2 + (params["y"] - 0.7) ** 2)


def best_of(sampler: BaseSampler, lost: set[int]) -> float:
    study = optuna.create_study(sampler=sampler)
    for number in range(150):
        trial = study.ask(SPACE)
        if number not in lost:
            study.tell(trial, value(trial.params))
    points = {tuple(trial.params.values()) for trial in study.get_trials(deepcopy=False)}
    assert len(points) == 150
    return study.best_value


@every_sampler
@pytest.mark.parametrize("lost", [{1}, {1, 5, 9}, {20}])
def test_a_search_goes_on_around_trials_that_are_never_told(
    make: Callable[..., BaseSampler], lost: set[int]
) -> None:
    untouched = best_of(make(search_space=dict(SPACE)), set())
    assert best_of(make(search_space=dict(SPACE)), lost) < max(20 * untouched, 1e-6)


def test_one_that_is_only_slow_is_waited_for() -> None:
    """As long as fewer than twenty times as many have come and gone as are in flight."""
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    running = [study.ask(SPACE) for _ in range(4)]
    for n in range(100):
        expected = frozenset({0}) if n >= 80 else frozenset()
        assert folded(study, SOO()).tree.overdue == expected
        study.tell(running[1], 1.0)
        running = [running[0], *running[2:], study.ask(SPACE)]


def test_it_is_named_once_with_what_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    lost = study.ask(SPACE)
    optuna.logging.enable_propagation()
    study.optimize(lambda trial: value({n: trial.suggest_float(n, 0, 1) for n in "xy"}), 30)
    optuna.logging.disable_propagation()
    told = {id(record): record.getMessage() for record in caplog.records}
    (message,) = (text for text in told.values() if "goes on around" in text)
    assert "trial 0, running" in message
    assert "study.tell(0, state=optuna.trial.TrialState.FAIL)" in message
    study.tell(lost.number, state=TrialState.FAIL)
    assert study.ask(SPACE).params == lost.params


@pytest.mark.filterwarnings("ignore:The value nan is not acceptable")
@pytest.mark.parametrize("name", ["direct-l", "direct"])
def test_a_sample_that_failed_and_is_tried_again_is_not_waited_for(name: str) -> None:
    """Whoever reads the failure first has cut the cell by it, and all others do so."""
    rule = RULES[name]
    sampler = DIRECTSampler(search_space=dict(SPACE), locally_biased=name == "direct-l")
    study = optuna.create_study(sampler=sampler)
    cached = folded(study, rule)
    for number in range(9):
        trial = study.ask(SPACE)
        if number == 3:
            repeat = trial
        else:
            study.tell(trial, float("nan") if number == 2 else value(trial.params))
        if number == 2:
            study.enqueue_trial(trial.params)
        cached.update(study.get_trials(deepcopy=False))
    trials = study.get_trials(deepcopy=False)
    for first in range(len(trials)):
        history = History(Space(SPACE), rule, sign=1.0)
        for read in [*trials[first:], *trials[:first]]:
            history.fold(read)
        assert snapshot(history.tree) == snapshot(cached.tree)
    study.tell(repeat, 0.01)
    cached.update(study.get_trials(deepcopy=False))
    assert snapshot(folded(study, rule).tree) == snapshot(cached.tree)


def folded(study: optuna.Study, rule: Rule[Any]) -> History[Any]:
    history = History(Space(SPACE), rule, sign=1.0)
    history.update(study.get_trials(deepcopy=False))
    return history


def snapshot(tree: Tree) -> list[tuple[Any, ...]]:
    return [(n.cell, n.depth, n.order, n.state, str(n.value)) for n in tree.leaves()]


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=3)
@given(workers=st.integers(1, 3), order=st.randoms(use_true_random=False))
def test_cached_and_fresh_folds_agree_while_trials_are_lost_and_found(
    name: str, workers: int, order: random.Random
) -> None:
    rule = RULES[name]
    make = SOOSampler if name == "soo" else DIRECTSampler
    options = {} if name == "soo" else {"locally_biased": name == "direct-l"}
    study = optuna.create_study(sampler=make(search_space=dict(SPACE), **options))
    cached, lost, n_rebuilt = folded(study, rule), list[optuna.Trial](), 0
    running: list[optuna.Trial] = []
    for step in range(120):
        while len(running) < workers:
            running.append(study.ask(SPACE))
        trial = running.pop(order.randrange(len(running)))
        if step % 40 == 3:
            lost.append(trial)
        else:
            study.tell(trial, value(trial.params))
        if step % 40 == 36:  # one comes back, with a value or without
            found = lost.pop()
            state = order.choice([TrialState.COMPLETE, TrialState.FAIL])
            values = value(found.params) if state is TrialState.COMPLETE else None
            study.tell(found, values, state=state)
        trials = study.get_trials(deepcopy=False)
        if not cached.continues(trials):
            cached, n_rebuilt = folded(study, rule), n_rebuilt + 1
        cached.update(trials)
        fresh = folded(study, rule)
        assert snapshot(fresh.tree) == snapshot(cached.tree)
        ours, theirs = fresh.choose(), study.ask(SPACE)
        carried = study.get_trials(deepcopy=False)[theirs.number].system_attrs["partition"]
        assert ours.cell is not None
        assert " ".join(carried["cell"].values()) == cells.name(ours.cell)
        assert carried["opened"] == [cells.name(cell) for cell in ours.opened]
        running.append(theirs)
    assert n_rebuilt > 0 or workers > 1 or name == "soo"


def test_what_an_ask_reads_on_its_way_is_no_other_tree_for_later_ones(tmp_path: Path) -> None:
    """In a journal each ask reads the trials twice, and counts as in flight at the second time."""
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    sampler = DIRECTSampler(search_space=dict(SPACE))
    study = optuna.create_study(storage=journal, sampler=sampler)
    lost: list[optuna.Trial] = []
    for number in range(45):
        trial = study.ask(SPACE)
        if number == 2:
            lost.append(trial)
        else:
            study.tell(trial, value(trial.params))
        if number == 30:
            study.tell(lost.pop(), -1.0)
        trials = study.get_trials(deepcopy=False)
        assert sampler._history is not None
        cached = sampler._history[1]
        if cached.continues(trials):
            cached.update(trials)
            fresh = folded(study, DIRECT(True, 1e-4))
            assert snapshot(cached.tree) == snapshot(fresh.tree)
