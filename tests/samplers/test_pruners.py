"""`BoundPruner`: stops what cannot win, seldom more, the same everywhere; with any sampler."""

from __future__ import annotations

import math
from pathlib import Path
import random
from typing import Any

import optuna
from optuna.trial import TrialState
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import BoundPruner


STEPS = range(1, 9)


def value(trial: optuna.Trial) -> float:
    return (trial.suggest_float("x", -1, 1) - 0.3) ** 2 + trial.suggest_float("y", 0, 1)


def curve(trial: optuna.Trial) -> list[float]:
    chance = random.Random(trial.number)
    end = value(trial)
    return [
        end + 2 * 0.6**step * (1 + trial.params["y"]) + chance.gauss(0, 0.01) for step in STEPS
    ]


def trained(trial: optuna.Trial, sign: float = 1) -> float:
    values = curve(trial)
    for step, loss in zip(STEPS, values, strict=True):
        trial.report(sign * loss, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return sign * values[-1]


def study_of(sampler: Any = None, pruner: Any = None, **kwargs: Any) -> optuna.Study:
    sampler = sampler or optuna.samplers.RandomSampler(seed=1)
    return optuna.create_study(sampler=sampler, pruner=pruner or BoundPruner(), **kwargs)


def ends(study: optuna.Study) -> list[tuple[TrialState, int | None]]:
    return [(trial.state, trial.last_step) for trial in study.trials]


@pytest.mark.parametrize(("race", "most"), [(True, 0.05), (False, 0.02)])
def test_it_saves_most_steps_and_seldom_stops_what_would_have_won(race: bool, most: float) -> None:
    spent = wrong = stops = 0
    for seed in range(4):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        study = study_of(sampler, BoundPruner(race=race))
        whole: list[float] = []

        def objective(trial: optuna.Trial, whole: list[float] = whole) -> float:
            whole.append(curve(trial)[-1])
            return trained(trial)

        study.optimize(objective, n_trials=30)
        spent += sum(trial.last_step or 0 for trial in study.trials)
        for trial in study.trials:
            if trial.state is TrialState.PRUNED:
                before = [
                    t.value for t in study.trials[: trial.number] if t.state.name == "COMPLETE"
                ]
                stops += 1
                wrong += whole[trial.number] < min(b for b in before if b is not None)
    assert spent < 0.5 * 4 * 30 * len(STEPS)
    assert wrong <= most * stops


def test_at_the_first_report_the_race_is_successive_halving_s_first_rung() -> None:
    """Optuna's, beside ours, over curves that say all at once and none of which is stopped."""
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    ours, halving = study_of(pruner=BoundPruner(risk=1e-9)), study_of(pruner=theirs)
    decided = []
    for _ in range(10):
        trials = [study.ask() for study in (ours, halving)]
        for study, trial in zip((ours, halving), trials, strict=True):
            values = curve(trial)
            trial.report(values[0], 1)
            decided.append(trial.should_prune())
            for step, loss in zip(STEPS[1:], values[1:], strict=True):
                trial.report(loss, step)
            study.tell(trial, values[-1])
    assert decided[2::2] == decided[3::2]
    assert 3 < sum(decided[::2]) < 9


@pytest.mark.parametrize("last_step", [8, None])
def test_workers_that_begin_together_race_where_the_last_step_is_known(
    last_step: int | None,
) -> None:
    """No trial has come to its end yet. It is Optuna's successive halving again."""
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    ours, halving = study_of(pruner=BoundPruner(last_step=last_step)), study_of(pruner=theirs)
    decided: dict[optuna.Study, list[bool]] = {}
    for study in (ours, halving):
        for trial in [study.ask() for _ in range(16)]:
            trial.report(curve(trial)[0], 1)
            decided.setdefault(study, []).append(trial.should_prune())
    assert decided[ours] == (decided[halving] if last_step else [False] * 16)
    assert sum(decided[halving]) > 7


def test_the_race_is_over_after_the_first_trials_and_may_be_left_out() -> None:
    stopped = []
    for race, n_before in ((True, 0), (True, 10), (False, 0)):
        study = study_of(pruner=BoundPruner(race=race, risk=1e-9))
        for n in range(n_before + 2):
            trial = study.ask()
            value(trial)
            trial.report(1.0 + n, 1)
            stopped.append(trial.should_prune())
            trial.report(0.5 + n, 8)
            study.tell(trial, 0.5 + n)
    assert stopped == [False, True, False, *[True] * 9, False, False, False, False]


def test_there_is_a_second_rung_and_none_beyond() -> None:
    """Of three trials the first is whole, and the others are behind it from one step on."""
    stopped = []
    for behind_from in (1, 2, 3, 4):
        study = study_of(pruner=BoundPruner(risk=1e-9))
        for n in range(2):
            trial = study.ask()
            value(trial)
            decided = []
            for step in STEPS:
                trial.report(20.0 - step + (1 if step >= behind_from else -1) * n, step)
                decided.append(trial.should_prune())
            study.tell(trial, 12.0 + n)
        stopped.append([step for step, no in zip(STEPS, decided, strict=True) if no])
    assert stopped == [[1, 3], [3], [3], []]


def test_what_is_taken_up_again_has_left_the_race() -> None:
    study = study_of(pruner=BoundPruner(risk=1e-9))
    params = {"x": 0.1, "y": 0.2}
    for losses in ([5.0] * 8, [9.0]):
        study.enqueue_trial(params if len(losses) == 1 else {"x": 0.3, "y": 0.4})
        trial = study.ask()
        value(trial)
        for step, loss in zip(STEPS, losses, strict=False):
            trial.report(loss, step)
        whole = len(losses) == len(STEPS)
        study.tell(trial, 5.0 if whole else None, None if whole else TrialState.PRUNED)
    study.enqueue_trial(params)
    trial = study.ask()
    value(trial)
    for step in STEPS:
        trial.report(9.0, step)
        assert not trial.should_prune()


def test_a_trial_that_reports_no_number_is_stopped_once_one_is_complete() -> None:
    """As by Optuna's pruners: its last number may have been the best of all."""

    def objective(trial: optuna.Trial) -> float:
        for step in STEPS:
            trial.report(-1.0 if step < 3 else math.nan, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 1.0

    study = study_of()
    study.optimize(objective, n_trials=3)
    assert ends(study) == [(TrialState.COMPLETE, 8), *[(TrialState.PRUNED, 3)] * 2]


def test_a_report_before_the_first_rung_decides_no_race() -> None:
    study = study_of()
    for n in range(2):
        trial = study.ask()
        value(trial)
        stopped = []
        for step in range(1, 13):
            trial.report(9.0 + n, step)
            stopped.append(trial.should_prune())
        study.tell(trial, 9.0 + n)
    assert stopped.index(True) == 1


def test_maximising_is_minimising_upside_down() -> None:
    down, up = study_of(), study_of(direction="maximize")
    down.optimize(trained, n_trials=20)
    up.optimize(lambda trial: trained(trial, -1), n_trials=20)
    assert ends(down) == ends(up)
    assert TrialState.PRUNED in {state for state, _ in ends(up)}


def test_the_same_on_every_storage_and_in_a_new_process(tmp_path: Path) -> None:
    memory = study_of()
    memory.optimize(trained, n_trials=15)
    database = study_of(storage=f"sqlite:///{tmp_path / 's.db'}")
    for _ in range(15):
        database.pruner = BoundPruner()
        database.optimize(trained, n_trials=1)
    assert ends(memory) == ends(database)
    assert TrialState.PRUNED in {state for state, _ in ends(memory)}


@pytest.mark.parametrize("options", [{}, {"last_step": 8, "race": False}])
def test_the_first_trials_and_the_leader_are_spared(options: dict[str, Any]) -> None:
    study = study_of(pruner=BoundPruner(n_startup_trials=7, **options))
    study.optimize(trained, n_trials=30)
    assert all(state is TrialState.COMPLETE for state, _ in ends(study)[:7])
    assert study.best_trial.state is TrialState.COMPLETE


def test_reports_may_be_of_something_else_than_the_value() -> None:
    """As a training loss is, where the value is a validation loss above all of them."""

    def objective(trial: optuna.Trial) -> float:
        values = curve(trial)
        for step, loss in zip(STEPS, values, strict=True):
            trial.report(loss - 10, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return values[-1]

    study = study_of()
    study.optimize(objective, n_trials=30)
    assert [state for state, _ in ends(study)].count(TrialState.PRUNED) > 7


def test_what_stands_better_than_the_best_end_goes_on() -> None:
    """Two curves that cross taught that who is ahead at first is behind at last, for good."""
    study = study_of()
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for x, curve in ((0.5, [3.74, 3.6, 3.4, 3.18]), (0.1, [3.58, 3.56, 3.54, 3.53])):
        told = dict(enumerate(curve, 1))
        study.add_trial(
            optuna.create_trial(
                params={"x": x}, distributions=space, value=curve[-1], intermediate_values=told
            )
        )
    trial = study.ask(space)
    trial.report(2.94, 1)
    assert not trial.should_prune()


@pytest.mark.parametrize(("stops_at", "starts"), [(1, 9), (6, 7), (8, 5)])
def test_the_start_of_a_search_is_as_many_points_as_five_trainings_pay_for(
    stops_at: int, starts: int
) -> None:
    """The first is trained to its end, and the others to a step of eight."""
    study = optuna.create_study(sampler=BaMSOOSampler())
    for n in range(starts + 1):
        trial = study.ask()
        end = value(trial)
        last = stops_at if n else 8
        for step in STEPS[:last]:
            trial.report(end + 1 / step, step)
        if last == 8:
            study.tell(trial, end)
        else:
            study.tell(trial, state=TrialState.PRUNED)
    cursors = [trial.system_attrs["partition"]["cursor"] for trial in study.trials[1:]]
    has_fit = [bool(cursor[-1]) for cursor in cursors]
    assert has_fit.index(True) == starts - 1


def test_a_trial_of_the_start_that_runs_counts_as_a_whole_one() -> None:
    """Whatever it has reported: it is not stopped yet."""
    study = optuna.create_study(sampler=BaMSOOSampler())
    for n in range(6):
        trial = study.ask()
        end = value(trial)
        trial.report(end + 1, 1)
        if n < 2:
            trial.report(end, 8)
            study.tell(trial, end)
    cursors = [trial.system_attrs["partition"]["cursor"] for trial in study.trials[1:]]
    assert [bool(cursor[-1]) for cursor in cursors] == [False] * 4 + [True]


@pytest.mark.parametrize("sampler", [optuna.samplers.TPESampler(seed=0), BaMSOOSampler(seed=0)])
def test_it_works_with_samplers_that_learn(sampler: Any) -> None:
    study = study_of(sampler)
    study.optimize(trained, n_trials=30)
    states = [state for state, _ in ends(study)]
    assert states.count(TrialState.PRUNED) > 7 and states.count(TrialState.COMPLETE) >= 4


def test_what_is_taken_up_again_is_not_stopped_where_it_has_been() -> None:
    study = study_of()
    study.optimize(trained, n_trials=30)
    stopped = next(t for t in study.trials if t.state is TrialState.PRUNED and t.last_step == 1)
    study.enqueue_trial(stopped.params)
    trial = study.ask()
    value(trial)
    trial.report(stopped.intermediate_values[1], 1)
    assert not trial.should_prune()
    trial.report(100.0, 2)
    assert trial.should_prune()


@pytest.mark.parametrize(
    "report",
    [
        lambda step: math.nan,
        lambda step: math.inf,
        lambda step: 1e308 * (-1) ** step,
        lambda step: 0.0,
        lambda step: 10.0**step,
    ],
)
def test_no_report_is_too_strange(report: Any) -> None:
    def objective(trial: optuna.Trial) -> float:
        end = value(trial)
        for step in range(0, 40, 1 + trial.number % 7):
            trial.report(report(step) if trial.number % 3 else end, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return end

    study = study_of()
    study.optimize(objective, n_trials=10)
    assert len(study.trials) == 10


def test_one_report_far_below_all_others_does_not_end_the_pruning() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.number == 4:
            trial.report(-1e30, 1)
            raise optuna.TrialPruned
        return trained(trial)

    study = study_of()
    study.optimize(objective, n_trials=40)
    stopped = [trial for trial in study.trials[5:] if trial.state is TrialState.PRUNED]
    assert len(stopped) > 20


def test_trials_that_report_nothing_are_no_obstacle() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trained(trial) if trial.number % 2 else value(trial)

    study = study_of()
    study.optimize(objective, n_trials=30)
    assert len(study.trials) == 30


def test_an_infeasible_value_is_nothing_to_beat() -> None:
    def objective(trial: optuna.Trial) -> float:
        end = trained(trial)
        trial.set_constraint("no", 1.0)
        return end

    study = study_of()
    study.optimize(objective, n_trials=20)
    assert all(state is TrialState.COMPLETE for state, _ in ends(study))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"risk": 0}, "`0 < risk < 1` must hold, but got"),
        ({"risk": 1.0}, "`0 < risk < 1` must hold, but got"),
        ({"risk": math.nan}, "risk"),
        ({"risk": "5%"}, "risk"),
        ({"n_startup_trials": 0}, "`n_startup_trials` must be an integer"),
        ({"n_startup_trials": 2.5}, "`n_startup_trials` must be an integer"),
        ({"n_startup_trials": True}, "`n_startup_trials` must be an integer"),
        ({"race": "no"}, "`race` must be True or False"),
        ({"last_step": 0}, "`0 < last_step < inf` must hold"),
        ({"last_step": math.inf}, "`0 < last_step < inf` must hold"),
        ({"last_step": "8"}, "`0 < last_step < inf` must hold"),
    ],
)
def test_a_mistake_gets_a_message(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoundPruner(**arguments)
