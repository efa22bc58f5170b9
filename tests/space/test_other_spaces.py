"""Trials of one space or order of parameters under another: they count where they lie."""

from __future__ import annotations

from pathlib import Path
import random

from bowl import coordinates
from bowl import copied
from bowl import FINITE
from bowl import OURS
from bowl import points
from bowl import SOURCES
from bowl import Space
from bowl import storage_of
from bowl import value
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
import pytest

from benchmarks._stress_spaces import random_space
from optuna_partition._study.ask import PartitionSampler


def wider(distribution: BaseDistribution, chance: random.Random) -> BaseDistribution:
    """A distribution with all values of another; Optuna takes no other choices in a study."""
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        more = step * chance.randint(0, 4)
        low = max(1, low - more) if distribution.log else low - more
        return IntDistribution(low, high + step * chance.randint(0, 9), distribution.log, step)
    if isinstance(distribution, FloatDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        more = (step or (high - low)) * chance.randint(0, 2)
        low = low / chance.choice([1, 10]) if distribution.log else low - more
        return FloatDistribution(low, high + more, distribution.log, step)
    return distribution


@settings(max_examples=75)
@given(
    first=st.sampled_from(list(OURS)),
    second=st.sampled_from(list(OURS)),
    seed=st.integers(0, 2**32),
    width=st.integers(1, 6),
    fewer=st.booleans(),
)
def test_a_space_reordered_and_widened_has_the_old_points_inside(
    first: str, second: str, seed: int, width: int, fewer: bool
) -> None:
    chance = random.Random(seed)
    narrow = random_space(chance)
    wide = {name: wider(narrow[name], chance) for name in chance.sample([*narrow], len(narrow))}
    before, now = (wide, narrow) if fewer else (narrow, wide)
    study = optuna.create_study(sampler=OURS[first](dict(before)))
    study.optimize(lambda trial: value(trial, before), n_trials=chance.randint(1, 15))
    known = set(coordinates(study))
    sampler = OURS[second](dict(now))
    study.sampler = sampler
    flying = []
    for _ in range(16):
        assert isinstance(sampler, PartitionSampler)
        if sampler.is_exhausted(study):
            break
        flying.append(study.ask(dict(now)))
        point = tuple(flying[-1].params[name] for name in sorted(now))
        assert point not in known
        known.add(point)
        if len(flying) == width:
            trial = flying.pop(0)
            study.tell(trial, value(trial, now))
    assert sum(trial.state is TrialState.FAIL for trial in study.trials) == 0


class Interleaved:
    """Workers with different rules and orders on one study, one operation of one at a time."""

    def __init__(self, study: optuna.Study, samplers: list[BaseSampler]) -> None:
        self.study, self.samplers = study, samplers
        self.running: dict[int, optuna.Trial] = {}
        self.points: list[tuple[object, ...]] = []

    def step(self, worker: int) -> None:
        """The worker's next operation: an ask, a suggestion, or the end of its trial."""
        self.study.sampler = self.samplers[worker]
        if worker not in self.running:
            if len(self.points) + len(self.running) < 54:
                self.running[worker] = self.study.ask()
            return
        trial = self.running[worker]
        lacking = [name for name in FINITE if name not in trial.params]
        if lacking:
            trial._suggest(lacking[0], FINITE[lacking[0]])
            return
        self.points.append(tuple(trial.params[name] for name in FINITE))
        self.study.tell(self.running.pop(worker), float(len(self.points) % 3))


def together(storage: optuna.storages.BaseStorage, seed: int, steps: int) -> None:
    """Random operations of four workers; no point comes twice."""
    chance = random.Random(seed)
    samplers = []
    for _ in range(4):
        order = chance.sample([*FINITE], len(FINITE))
        samplers.append(OURS[chance.choice([*OURS])]({name: FINITE[name] for name in order}))
    search = Interleaved(optuna.create_study(storage=storage), samplers)
    for _ in range(steps):
        search.step(chance.randrange(4))
    assert search.points and len(set(search.points)) == len(search.points)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), steps=st.integers(20, 250))
def test_workers_with_different_rules_and_orders_get_different_points(
    seed: int, steps: int
) -> None:
    together(optuna.storages.InMemoryStorage(), seed, steps)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_they_do_in_a_database_and_a_journal_too(kind: str, tmp_path: Path) -> None:
    together(storage_of(kind, tmp_path), seed=0, steps=90)


@pytest.mark.parametrize("name", [*OURS, "nomad"])
@pytest.mark.parametrize("n_known", [0, 1, 2])
def test_a_retry_over_another_space_is_evaluated_where_it_lies(name: str, n_known: int) -> None:
    """Optuna's retry of a stale trial copies parameters and attributes to a waiting trial."""
    study = optuna.create_study(sampler=SOURCES[name](dict(FINITE)))
    study.optimize(lambda trial: value(trial, FINITE), n_trials=5)
    lost = study.ask()
    for parameter in [*FINITE][:n_known]:
        lost._suggest(parameter, FINITE[parameter])
    study._storage.set_trial_state_values(lost._trial_id, TrialState.FAIL)
    study.add_trial(copied(study.trials[-1], state=TrialState.WAITING))
    space: Space = {"z": IntDistribution(0, 3), "y": FINITE["y"], "x": IntDistribution(-2, 9)}
    study.sampler = SOURCES[name](dict(space))
    retried = study.ask(dict(space))
    assert retried.number == 6
    assert lost.params.items() <= retried.params.items()
    study.tell(retried, 0.0)
    study.optimize(lambda trial: value(trial, space), n_trials=10)
    assert len({str(params) for params in points(study)[6:]}) == 11
