"""Same history, same tree: whatever the order of ends, reads and processes."""

from __future__ import annotations

from collections.abc import Callable
import itertools
import math
from pathlib import Path
import random
from typing import Any

from beliefs import Nearests
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
import pytest

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
from optuna_partition._core import cells
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.bamsoo_2014 import BaMSOO2014
from optuna_partition._rules.direct import DIRECT
from optuna_partition._rules.rule import Rule
from optuna_partition._rules.soo import SOO
from optuna_partition._space.space import Space
from optuna_partition._study.ask import PartitionSampler
from optuna_partition._study.fold.history import History
from optuna_partition._study.optuna import trials_of


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0, 1),
    "y": FloatDistribution(0.01, 1, log=True),
    "n": IntDistribution(0, 6),
}


def value(params: dict[str, Any]) -> float:
    return round(abs(params["x"] - 0.3) + abs(math.log(params["y"]) + 2) + params["n"] % 3, 1)


def snapshot(tree: Tree) -> list[tuple[Any, ...]]:
    return [(n.cell, n.depth, n.order, n.state, str(n.value)) for n in tree.leaves()]


def folded(study: optuna.Study, rule: Rule[Any]) -> History[Any]:
    history = History(Space(SPACE), rule, sign=1.0)
    history.update(study.get_trials(deepcopy=False))
    return history


def end(study: optuna.Study, trial: optuna.Trial, fate: str) -> None:
    if fate == "value":
        study.tell(trial, value(trial.params))
    elif fate == "nan":
        with pytest.warns(UserWarning, match="nan is not acceptable"):
            study.tell(trial, math.nan)
    elif fate == "lost":
        study.tell(trial, state=TrialState.FAIL)
    elif fate == "stopped":
        study._storage.set_trial_system_attr(trial._trial_id, "partition:stopped", True)
        study.tell(trial, state=TrialState.FAIL)
    elif fate == "died":  # as when a heartbeat stops: nobody calls `after_trial`
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    else:
        trial.report(value(trial.params), step=1)
        study.tell(trial, state=TrialState.PRUNED)


DEFAULT, PUBLISHED = BaMSOO(Nearests()), BaMSOO2014(Nearests(0.1), 0.05)
# The rules and the samplers that use them; a model would take minutes and show nothing more.
PAIRS = {
    "soo": (SOO(), lambda: SOOSampler(search_space=dict(SPACE))),
    "direct-l": (DIRECT(True, 1e-4), lambda: DIRECTSampler(search_space=dict(SPACE))),
    "bamsoo": (
        DEFAULT,
        lambda: PartitionSampler(DEFAULT, search_space=dict(SPACE)),
    ),
    "bamsoo-2014": (
        PUBLISHED,
        lambda: PartitionSampler(PUBLISHED, search_space=dict(SPACE)),
    ),
    "direct": (
        DIRECT(False, 0.01),
        lambda: DIRECTSampler(search_space=dict(SPACE), locally_biased=False, epsilon=0.01),
    ),
}
by_rule = pytest.mark.parametrize("name", PAIRS)
fates = st.lists(
    st.sampled_from(["value", "value", "value", "nan", "lost", "died", "stopped", "pruned"]),
    min_size=5,
    max_size=40,
)


@by_rule
@settings(max_examples=30)
@given(ends=fates, workers=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_cached_and_fresh_folds_agree_after_every_step(
    name: str, ends: list[str], workers: int, order: random.Random
) -> None:
    """Trials end in random order; at each step a new process sees what the old one sees."""
    rule, sampler = PAIRS[name]
    study = optuna.create_study(sampler=sampler())
    cached = History(Space(SPACE), rule, sign=1.0)
    running: list[optuna.Trial] = []
    for fate in ends:
        while len(running) < workers:
            running.append(study.ask(dict(SPACE)))
        end(study, running.pop(order.randrange(len(running))), fate)
        cached.update(study.get_trials(deepcopy=False))
        fresh = folded(study, rule)
        assert snapshot(fresh.tree) == snapshot(cached.tree)
        assert fresh.cursor == cached.cursor
        ours, theirs = fresh.choose(), study.ask(dict(SPACE))
        assert ours.cell is not None
        asked = study.get_trials(deepcopy=False)[theirs.number].system_attrs["partition"]
        assert " ".join(asked["cell"].values()) == cells.name(ours.cell)
        assert asked["opened"] == [cells.name(cell) for cell in ours.opened]
        running.append(theirs)


@pytest.mark.parametrize("rule", [rule for rule, _ in PAIRS.values()], ids=list(PAIRS))
def test_an_ask_that_finds_every_point_taken_leaves_no_trace(rule: Rule[Any]) -> None:
    """No trial says what it has opened, and a point may yet become free."""
    space: dict[str, BaseDistribution] = {"n": IntDistribution(0, 6), "k": IntDistribution(0, 2)}
    study = optuna.create_study(
        sampler=PartitionSampler(
            rule, search_space=dict(space), seed=0, warn_independent_sampling=False
        )
    )
    trials = [study.ask(dict(space)) for _ in range(21)]
    for trial in trials[1::2]:
        study.tell(trial, float(trial.params["n"]))
    study.ask(dict(space))  # finds nothing
    end(study, trials[0], "died")
    fresh = History(Space(space), rule, sign=1.0)
    fresh.update(study.get_trials(deepcopy=False))
    ours, theirs = fresh.choose(), study.ask(dict(space))
    asked = study.trials[theirs.number].system_attrs["partition"]
    assert asked["cursor"] == list(rule.dump(ours.cursor))
    assert ours.cell is not None
    assert " ".join(asked["cell"].values()) == cells.name(ours.cell)
    assert asked["opened"] == [cells.name(cell) for cell in ours.opened]


@by_rule
@settings(max_examples=15)
@given(ends=fates, workers=st.integers(2, 12))
def test_workers_that_ask_at_once_leave_each_other_different_points(
    name: str, ends: list[str], workers: int
) -> None:
    """None sees another's choice, only how many were before it; what it leaves is left free."""
    rule, sampler = PAIRS[name]
    study = optuna.create_study(sampler=sampler())
    for fate in ends:
        end(study, study.ask(dict(SPACE)), fate)
    points = set()
    for others in range(workers):
        history = folded(study, rule)
        choice = history.choose(others)
        assert choice.cell is not None
        point = cells.centre(history.space.axes, choice.at or choice.cell)
        assert not history.tree.has(point)
        assert not history.tree.points(Reading.FLYING)
        points.add(point)
    assert len(points) == workers


@by_rule
@settings(max_examples=15)
@given(n=st.integers(5, 40), order=st.randoms(use_true_random=False))
def test_the_order_in_which_trials_are_read_leaves_no_trace(
    name: str, n: int, order: random.Random
) -> None:
    rule, sampler = PAIRS[name]
    study = optuna.create_study(sampler=sampler())
    for _ in range(n):
        trial = study.ask(dict(SPACE))
        study.tell(trial, value(trial.params))
    trials = study.get_trials(deepcopy=False)
    shuffled = History(Space(SPACE), rule, sign=1.0)
    for trial in order.sample(trials, len(trials)):
        shuffled.fold(trial)
    in_order = folded(study, rule)
    assert snapshot(shuffled.tree) == snapshot(in_order.tree)
    assert shuffled.cursor == in_order.cursor


@settings(max_examples=8)
@given(order=st.randoms(use_true_random=False))
def test_cells_that_two_workers_opened_at_once_have_an_order(order: random.Random) -> None:
    """Both count the iteration as theirs, and all values are the same."""
    rule, sampler = PAIRS["direct"]
    study = optuna.create_study(sampler=sampler())
    for _ in range(60):
        study.tell(study.ask(dict(SPACE)), 0.0)
    trials = study.get_trials()
    for trial, after in itertools.pairwise(trials):
        mine, other = (t.system_attrs["partition"] for t in (trial, after))
        if len(mine["opened"]) > 1 and not other["opened"]:
            *mine["opened"], last = mine["opened"]
            other["opened"], other["cursor"] = [last], mine["cursor"]
    folds = [History(Space(SPACE), rule, sign=1.0) for _ in range(2)]
    for fold, read in zip(folds, (trials, order.sample(trials, len(trials))), strict=True):
        for trial in read:
            fold.fold(trial)
    assert snapshot(folds[0].tree) == snapshot(folds[1].tree)
    orders = [leaf.order for leaf in folds[0].tree.leaves()]
    assert len(set(orders)) < len(orders)
    assert folds[0].choose() == folds[1].choose()


def test_a_point_is_given_up_after_three_dead_workers() -> None:
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    asked = []
    for _ in range(5):
        trial = study.ask(dict(SPACE))
        asked.append(trial.params)
        end(study, trial, "died")
    assert asked[0] == asked[1] == asked[2]
    assert asked[3] != asked[2]


def test_a_fold_that_is_interrupted_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    for fate in ("died", "died", "value", "value"):
        end(study, study.ask(dict(SPACE)), fate)
    trials, history = study.get_trials(deepcopy=False), History(Space(SPACE), SOO(), sign=1.0)
    monkeypatch.setattr(history, "_observe_ended", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            history.update(trials)
    monkeypatch.undo()
    history.update(trials)
    assert snapshot(history.tree) == snapshot(folded(study, SOO()).tree)
    assert not history.tree.points(Reading.FAILED)


def interrupted(*args: Any) -> None:
    raise KeyboardInterrupt


def test_a_retry_keeps_its_cell() -> None:
    """Optuna's retry of a stale trial copies parameters and attributes to a waiting trial."""
    study = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE)))
    first = study.ask(dict(SPACE))
    end(study, first, "died")
    dead = study.trials[0]
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=dead.params,
            distributions=dead.distributions,
            system_attrs={**dead.system_attrs, "failed_trial": 0},
        )
    )
    retried, other = study.ask(dict(SPACE)), study.ask(dict(SPACE))
    assert retried.params == first.params
    assert other.params != first.params


@settings(max_examples=25)
@given(
    turns=st.lists(st.tuples(st.sampled_from(list(PAIRS)), st.booleans()), min_size=2, max_size=5),
    ends=fates,
    workers=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_folds_agree_where_rules_and_orders_take_turns(
    turns: list[tuple[str, bool]], ends: list[str], workers: int, order: random.Random
) -> None:
    """Trials of another rule, or whose parameters are in another order, have no log to read."""
    study = optuna.create_study()
    cached = {name: History(Space(SPACE), PAIRS[name][0], sign=1.0) for name, _ in turns}
    running: list[optuna.Trial] = []
    for n, fate in enumerate(ends):
        name, backwards = turns[n % len(turns)]
        space = dict(reversed(SPACE.items())) if backwards else dict(SPACE)
        study.sampler = PartitionSampler(PAIRS[name][0], search_space=space)
        running.append(study.ask(space))
        if len(running) >= workers:
            end(study, running.pop(order.randrange(len(running))), fate)
        trials = study.get_trials(deepcopy=False)
        for name, history in cached.items():
            history.update(trials)
            shuffled = History(Space(SPACE), PAIRS[name][0], sign=1.0)
            for trial in order.sample(trials, len(trials)):
                shuffled.fold(trial)
            for other in (folded(study, PAIRS[name][0]), shuffled):
                assert snapshot(other.tree) == snapshot(history.tree)
                assert other.cursor == history.cursor
                assert other.misfits.keys() == history.misfits.keys()


class Late(_CachedStorage):
    """Optuna's cache, with something between its read of the trials and its list of them."""

    between: Callable[[], object] | None = None

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        super()._read_trials_from_remote_storage(study_id)
        if self.between is not None:
            work, self.between = self.between, None
            work()


def test_a_trial_that_the_cache_lists_late_is_read_later(tmp_path: Path) -> None:
    """One begins in another process and then one in another thread, while a third thread reads."""
    url = f"sqlite:///{tmp_path}/study.db"
    cache, elsewhere = Late(RDBStorage(url)), RDBStorage(url)
    study = optuna.create_study(storage=cache)
    study.ask()

    def begin_two() -> None:
        for place in (elsewhere, cache):
            place.create_new_trial(study._study_id)

    cache.between = begin_two
    assert [trial.number for trial in trials_of(study)] == [0]
    assert [trial.number for trial in trials_of(study)] == [0, 1, 2]
    for engine in (cache._backend.engine, elsewhere.engine):
        engine.dispose()
