"""What trials report is a part of what BaMSOO knows; stopped ones are taken up, once each."""

from __future__ import annotations

import math
from pathlib import Path
import threading
from typing import Any

from beliefs import Nearest
from beliefs import repeating
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pytest

from optuna_partition._core import cells
from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Continuous
from optuna_partition._core.cells import Point
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.evidence import evidence_of
from optuna_partition._rules.evidence import Reports
from optuna_partition._rules.soo import SOO
from optuna_partition._rules.source import Feature
from optuna_partition._study.ask import PartitionSampler
from optuna_partition._study.attributes import Ask


SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
STEPS = range(1, 6)


def believing(axes: tuple[Axis, ...], features: tuple[Feature, ...] = ()) -> Nearest:
    return Nearest(Domain.of(axes), 4.0)


def sampler(
    belief: Any = believing, *, deterministic: bool = True, resumes: bool = True
) -> PartitionSampler:
    rule = BaMSOO(belief, deterministic=deterministic, resumes=resumes)
    return PartitionSampler(rule, search_space=dict(SPACE))


def bowl(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    return (x - 0.3) ** 2 + (y - 0.6) ** 2


class Stops(optuna.pruners.BasePruner):
    """Stops every trial but each fourth at its second report; continued ones go to their end."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        seen = [t for t in study.trials[: trial.number] if t.params == trial.params]
        return trial.last_step == 2 and trial.number % 4 != 0 and not seen


def trained(trial: optuna.Trial) -> float:
    value = bowl(trial)
    for step in STEPS:
        trial.report(value + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value + 1 / STEPS[-1]


def at(tree: Tree, *place: float) -> Point:
    """The point of a place in the unit cube."""
    cell = tuple(axis.pin(u) for axis, u in zip(tree.axes, place, strict=True))
    return cells.centre(tree.axes, cell)


def places(study: optuna.Study) -> list[tuple[float, ...]]:
    return [tuple(trial.params.values()) for trial in study.trials]


def test_reports_alone_change_nothing() -> None:
    never = optuna.pruners.NopPruner()
    told, silent = (optuna.create_study(sampler=sampler(), pruner=never) for _ in range(2))
    told.optimize(trained, n_trials=25)
    silent.optimize(lambda trial: bowl(trial) + 1 / STEPS[-1], n_trials=25)
    assert places(told) == places(silent)


def test_a_stopped_trial_counts_by_its_end() -> None:
    """Not by its last report, which would make it the worst of all."""
    tree = SOO().plant((Continuous(20), Continuous(20))).tree
    reports = {}
    for number in range(12):
        value = number / 10
        point = at(tree, (number + 0.5) / 12, 0.5)
        curve = [value + 1 / step for step in STEPS]
        whole = number % 2 == 0
        tree.observe(number, point, curve[-1] if whole else curve[1])
        shown = len(STEPS) if whole else 2
        reports[number] = Reports([*STEPS][:shown], curve[:shown], curve[-1] if whole else None)
    evidence = evidence_of(tree, reports)
    assert list(evidence.measured) == [True] * 6 + [False] * 6
    for place, number in enumerate(range(1, 12, 2)):
        assert evidence.y[6 + place] == pytest.approx(number / 10 + 0.2, abs=0.1)
    assert evidence.early is not None
    assert list(evidence.early.rest) == [1.0] * 6 + [0.6] * 6


def test_a_trial_that_runs_violates_no_constraint_yet() -> None:
    tree = SOO().plant((Continuous(20),)).tree
    reports = {0: Reports([*STEPS], [1.0] * 5, 1.0), 1: Reports([1, 2], [0.5, 0.5], None)}
    tree.observe(0, at(tree, 0.1), 1.0)
    tree.observe(1, at(tree, 0.5), Reading.FLYING)
    assert list(evidence_of(tree, reports).feasible) == [True, True]
    tree.observe(2, at(tree, 0.9), Reading.INFEASIBLE, (("memory", 1.0),), 0.1)
    evidence = evidence_of(tree, reports)
    assert list(evidence.feasible) == [True, False, True]
    assert list(evidence.ranking) == [2, 0, 1]


def test_what_was_evaluated_to_the_end_counts_in_its_place() -> None:
    tree = SOO().plant((Continuous(20),)).tree
    reports = {
        0: Reports([1, 2], [3.0, 2.0], 2.0),
        1: Reports([1], [2.5], None),
        2: Reports([1, 2], [2.5, 1.7], 1.7),
        3: Reports([1], [2.9], None),
    }
    told = [(0.1, 2.0), (0.3, 2.5), (0.3, 1.7), (0.5, Reading.FLYING)]
    for number, (place, reading) in enumerate(told):
        tree.observe(number, at(tree, place), reading)
    evidence = evidence_of(tree, reports)
    assert list(evidence.measured) == [True, True, False]
    assert list(evidence.y[:2]) == [2.0, 1.7]
    assert evidence.early is not None and math.isinf(evidence.early.rest[2])
    assert len(evidence.pending) == 1


@pytest.mark.filterwarnings("error")
def test_steps_that_are_all_0_leave_little_of_an_evaluation() -> None:
    tree = SOO().plant((Continuous(20),)).tree
    for number in range(3):
        tree.observe(number, at(tree, (number + 0.5) / 3), float(number))
    reports = {n: Reports([0], [float(n)], None if n else 0.0) for n in range(3)}
    evidence = evidence_of(tree, reports)
    assert evidence.early is not None
    assert list(evidence.early.rest) == [1.0, 0.25, 0.25]


@pytest.mark.parametrize(
    ("again", "reading", "step", "held"),
    [
        (None, 0.5, 1, [False, False]),
        (1, 0.5, 3, [False, False]),
        (1, Reading.FLYING, 1, [True, False]),
        (1, Reading.FAILED, 3, [True, False]),
        (1, 0.5, 2, [True, True]),
    ],
)
def test_what_is_not_taken_up(
    again: int | None, reading: Any, step: int, held: list[bool]
) -> None:
    tree = SOO().plant((Continuous(20),)).tree
    reports = {0: Reports([*STEPS], [1.0] * 5, 1.0)}
    tree.observe(0, at(tree, 0.9), 1.0)
    for number in (1, 2):
        reports[number] = Reports([1, 2], [0.5, 0.5], None)
        tree.observe(number, at(tree, number / 4), 0.5)
    if again is not None:
        reports[3] = Reports([step], [0.5], None)
        tree.observe(3, at(tree, again / 4), reading)
    early = evidence_of(tree, reports).early
    assert early is not None
    assert list(early.rest[1:] == math.inf) == held


@pytest.mark.parametrize("says", [True, False])
def test_none_is_taken_up_where_another_trial_is(says: bool) -> None:
    study = optuna.create_study(sampler=sampler(repeating, deterministic=False))
    running: list[optuna.Trial] = []
    for number in range(30):
        trial = study.ask()
        value = bowl(trial)
        assert trial.params not in [other.params for other in running]
        if says:
            trial.report(value, 1)
        running.append(trial)
        if len(running) == 4:
            ended = running.pop(0)
            ended.report(bowl(ended), 2 + number % 2)
            state = TrialState.PRUNED if number % 3 else TrialState.COMPLETE
            study.tell(ended, None if number % 3 else bowl(ended), state=state)
    asks = [Ask.of(trial) for trial in study.trials]
    assert any(ask is not None and ask.repeat for ask in asks)


def test_a_pruner_that_forgets_is_asked_once() -> None:
    class Forgets(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.last_step == 2 and trial.number > 2

    study = optuna.create_study(sampler=sampler(repeating), pruner=Forgets())
    study.optimize(trained, n_trials=25)
    asks = [Ask.of(trial) for trial in study.trials]
    assert sum(ask is not None and ask.repeat > 0 for ask in asks) == 1


def test_stopped_trials_are_taken_up_again_and_none_twice_at_once() -> None:
    study = optuna.create_study(sampler=sampler(repeating), pruner=Stops())
    study.optimize(trained, n_trials=40)
    asks = [Ask.of(trial) for trial in study.trials]
    again = [(t, a) for t, a in zip(study.trials, asks, strict=True) if a and a.repeat]
    assert again
    for trial, _ in again:
        before = [t for t in study.trials[: trial.number] if t.params == trial.params]
        assert [t.state for t in before] == [TrialState.PRUNED]
        assert trial.state is TrialState.COMPLETE
    assert len({(*t.params.values(), a.repeat) for t, a in again}) == len(again)


def test_a_stopped_trial_that_is_no_cell_s_centre_is_not_begun_anew_beside_it() -> None:
    study = optuna.create_study(sampler=sampler(repeating), pruner=Stops())
    study.optimize(trained, n_trials=9)
    study.enqueue_trial({"x": 0.3000001, "y": 0.6})
    study.optimize(trained, n_trials=20)
    assert study.trials[9].state is TrialState.PRUNED
    beside = [math.dist(place, (0.3000001, 0.6)) for place in places(study)]
    assert sum(distance < 1e-5 for distance in beside) == 1


def test_none_is_taken_up_where_the_objective_would_begin_anew() -> None:
    study = optuna.create_study(sampler=sampler(repeating, resumes=False), pruner=Stops())
    study.optimize(trained, n_trials=40)
    assert any(trial.state is TrialState.PRUNED for trial in study.trials)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 40


def test_workers_take_each_up_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="s", storage=url)

    def work() -> None:
        study = optuna.load_study(
            study_name="s", storage=url, sampler=sampler(repeating), pruner=Stops()
        )
        study.optimize(trained, n_trials=6)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = optuna.load_study(study_name="s", storage=url)
    asks = [Ask.of(trial) for trial in study.trials]
    claims = [(*t.params.values(), a.repeat) for t, a in zip(study.trials, asks, strict=True) if a]
    assert len(claims) == 24 == len(set(claims))


def test_a_new_process_asks_what_the_old_one_would_have() -> None:
    study = optuna.create_study(sampler=sampler(repeating), pruner=Stops())
    study.optimize(trained, n_trials=30)
    other = optuna.create_study(sampler=sampler(repeating), pruner=Stops())
    for _ in range(30):
        other.sampler = sampler(repeating)
        other.optimize(trained, n_trials=1)
    assert places(study) == places(other)
