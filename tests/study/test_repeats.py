"""A point is evaluated again only by a decision of the rule, stored as such, each repeat once."""

from __future__ import annotations

from collections import Counter
import math
from pathlib import Path
import random
from typing import Any

from beliefs import repeating
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pytest

from optuna_partition._rules.bamsoo import BaMSOO
from optuna_partition._rules.repeats import is_noisy
from optuna_partition._study.ask import PartitionSampler
from optuna_partition._study.attributes import Ask


SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def sampler(*, deterministic: bool = False) -> PartitionSampler:
    rule = BaMSOO(repeating, deterministic=deterministic)
    return PartitionSampler(rule, search_space=dict(SPACE))


def bowl(trial: optuna.Trial) -> float:
    return (trial.suggest_float("x", 0, 1) - 0.3) ** 2 + (
        trial.suggest_float("y", 0, 1) - 0.6
    ) ** 2


def noisy(trial: optuna.Trial) -> float:
    return bowl(trial) + random.Random(trial.number).gauss(0, 0.1)


def repeats(study: optuna.Study) -> list[tuple[tuple[Any, ...], int]]:
    """Where each trial lies, and which repeat it is."""
    asks = [Ask.of(trial) for trial in study.trials]
    assert all(ask is not None for ask in asks)
    lies = [tuple(trial.params.values()) for trial in study.trials]
    return [(where, ask.repeat) for where, ask in zip(lies, asks, strict=True) if ask is not None]


def test_without_noise_one_evaluation_is_the_price_of_knowing() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(bowl, n_trials=30)
    assert sorted(repeat for _, repeat in repeats(study))[-2:] == [0, 1]


def test_deterministic_promises_never_to_repeat() -> None:
    study = optuna.create_study(sampler=sampler(deterministic=True))
    study.optimize(noisy, n_trials=30)
    assert len({where for where, _ in repeats(study)}) == 30


def test_under_noise_the_best_is_repeated_and_each_repeat_has_its_number() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(noisy, n_trials=40)
    found = repeats(study)
    assert len(set(found)) == 40
    for where, n in Counter(where for where, _ in found).items():
        assert sorted(repeat for at, repeat in found if at == where) == list(range(n))
    assert max(repeat for _, repeat in found) >= 2
    shown = [t.user_attrs["partition"].get("repeat", 0) for t in study.trials]
    assert shown == [repeat for _, repeat in found]


def test_the_sweep_has_its_turn_all_the_same() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(noisy, n_trials=40)
    assert len({where for where, _ in repeats(study)}) >= 40 / 3


def test_a_new_process_goes_on_where_the_last_one_stopped() -> None:
    whole = optuna.create_study(sampler=sampler())
    whole.optimize(noisy, n_trials=25)
    pieces = optuna.create_study(sampler=sampler())
    for _ in range(25):
        pieces.sampler = sampler()
        pieces.optimize(noisy, n_trials=1)
    assert repeats(pieces) == repeats(whole)


def test_workers_share_repeats_out(tmp_path: Path) -> None:
    """Sixteen trials in flight, each asked for by a sampler that knows the storage only."""
    for url in (None, f"sqlite:///{tmp_path}/study.db"):
        study = optuna.create_study(sampler=sampler(), storage=url)
        study.optimize(noisy, n_trials=8)
        running = []
        for _ in range(16):
            study.sampler = sampler()
            running.append(study.ask())
            bowl(running[-1])
        for trial in running:
            study.tell(trial, noisy(trial))
        found = repeats(study)
        assert len(set(found)) == len(found)


def test_a_repeat_that_is_lost_loses_nothing() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(noisy, n_trials=6)
    while True:
        trial = study.ask()
        value = noisy(trial)
        lost = repeats(study)[-1]
        if lost[1]:
            break
        study.tell(trial, value)
    study.tell(trial, state=TrialState.FAIL)
    study.optimize(noisy, n_trials=10)
    later = [found for found in repeats(study)[trial.number + 1 :] if found[0] == lost[0]]
    assert later and all(repeat > lost[1] for _, repeat in later)


def test_where_trials_have_more_than_a_point_none_is_repeated() -> None:
    def branching(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b"])
        more = trial.suggest_float(f"of {kind}", 0, 1)
        return noisy(trial) + more

    rule = BaMSOO(repeating)
    study = optuna.create_study(sampler=PartitionSampler(rule))
    study.optimize(branching, n_trials=20)
    asks = [Ask.of(trial) for trial in study.trials]
    assert all(ask is None or ask.repeat == 0 for ask in asks)


def test_a_parameter_with_one_value_is_no_more_than_a_point() -> None:
    def with_constant(trial: optuna.Trial) -> float:
        trial.suggest_categorical("model", ["llama"])
        return noisy(trial)

    study = optuna.create_study(sampler=PartitionSampler(BaMSOO(repeating)))
    study.optimize(with_constant, n_trials=30)
    asks = [Ask.of(trial) for trial in study.trials]
    assert any(ask is not None and ask.repeat for ask in asks)


def test_other_trials_of_one_point_say_whether_values_differ() -> None:
    study = optuna.create_study(sampler=sampler())
    for _ in range(2):
        study.enqueue_trial({"x": 0.25, "y": 0.5})
    study.optimize(bowl, n_trials=20)
    found = Counter(tuple(trial.params.values()) for trial in study.trials)
    assert found.pop((0.25, 0.5)) == 2
    assert max(found.values()) == 1


def test_values_that_differ_in_one_place_are_enough() -> None:
    study = optuna.create_study(sampler=sampler())
    for value in (1.0, 1.0, 2.0):
        point = {"x": 0.25, "y": 0.5}
        study.add_trial(optuna.trial.create_trial(params=point, distributions=SPACE, value=value))
    study.optimize(lambda trial: math.floor(4 * bowl(trial)), n_trials=20)
    assert any(ask is not None and ask.repeat for ask in (Ask.of(trial) for trial in study.trials))


def rough(trial: optuna.Trial) -> float:
    """Like noise to any model, and the same at every evaluation."""
    point = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    return random.Random(repr(point)).random()


def test_while_nobody_knows_of_noise_one_repeat_is_in_flight() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(rough, n_trials=8)
    for _ in range(2):
        running = [study.ask() for _ in range(16)]
        for trial, value in [(trial, rough(trial)) for trial in running]:
            study.tell(trial, value)
    assert sum(repeat > 0 for _, repeat in repeats(study)) == 1


@pytest.mark.parametrize("size", [1e-14, 1e-6])
def test_what_nobody_would_notice_is_no_noise(size: float) -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(lambda trial: rough(trial) * (1 + size * (trial.number % 3)), n_trials=30)
    assert sum(repeat > 0 for _, repeat in repeats(study)) == 1


@pytest.mark.parametrize("end", ["raises", "nan", "pruned"])
def test_a_repeat_that_fails_is_not_tried_again(end: str) -> None:
    def once(trial: optuna.Trial) -> float:
        value = noisy(trial)
        if repeats(study)[-1][1] == 0:
            return value
        if end == "raises":
            raise RuntimeError("the folder exists")
        if end == "pruned":
            raise optuna.TrialPruned
        return math.nan

    study = optuna.create_study(sampler=sampler())
    study.optimize(once, n_trials=30, catch=(RuntimeError,))
    found = Counter(where for where, _ in repeats(study))
    assert max(found.values()) == 2


def test_a_tie_is_no_proof_where_values_of_different_points_tie() -> None:
    assert is_noisy([[1.0, 1.0], [2.0], [3.0]]) is False
    assert is_noisy([[1.0, 1.0], [2.0], [1.0]]) is None
    assert is_noisy([[1.0, 1.0], [2.0, 2.0], [1.0], [3.0, 3.0]]) is False
    assert is_noisy([[1.0, 1.0], [2.0, 4.0], [1.0]]) is True
    assert is_noisy([[math.inf, math.inf], [math.inf], [1.0]]) is None
    assert is_noisy([[-math.inf, math.inf], [1.0]]) is True
    assert is_noisy([[], [1.0]]) is None
