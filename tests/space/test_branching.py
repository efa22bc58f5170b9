"""Which parameters decide that others exist, as it is read from trials."""

from __future__ import annotations

import random
from typing import Any

from conditional import layers
from conditional import nested
from conditional import optimizer
from conditional import random_parameters
from conditional import searched
from conditional import suggest
from conditional import value
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from optuna_partition._space.branching import Branch
from optuna_partition._space.branching import Branches
from optuna_partition._study.fold.readings import has_told


def shape(branch: Branch | None) -> Any:
    """The deciders, nested as they decide, and the parameters they decide on."""
    assert branch is not None
    if branch.decider is None:
        return " ".join(branch.space.distributions)
    return branch.decider, {x: shape(behind) for x, behind in branch.branches.items()}


def test_the_parameters_that_decide_are_found() -> None:
    adam, sgd = "batch beta optimizer rate", "batch momentum optimizer rate"
    found = shape(Branches(has_told).root(searched(optimizer, 30).trials))
    assert found == ("optimizer", {0: adam, 1: adam, 2: sgd})
    found = shape(Branches(has_told).root(searched(nested, 30).trials))
    inner = {i: f"inner outer shared {name}" for i, name in enumerate("xy")}
    assert found == ("outer", {0: "outer shared", 1: ("inner", inner)})
    assert shape(Branches(has_told).root(searched(layers, 60).trials))[0] == "n"


def test_trials_without_branches_have_no_decider() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_int("n", 0, 2), n_trials=20)
    root = Branches(has_told).root(study.trials)
    assert root is not None and root.decider is None


def test_a_trial_that_was_pruned_half_way_is_no_branch() -> None:
    study = searched(nested, 20)
    for choice in "ab":
        pruned = optuna.trial.create_trial(
            state=TrialState.PRUNED,
            params={"outer": choice},
            distributions={"outer": CategoricalDistribution(["a", "b"])},
        )
        before = shape(Branches(has_told).root(study.trials))
        study.add_trial(pruned)
        assert shape(Branches(has_told).root(study.trials)) == before


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_read_as_trials_end_is_what_is_read_at_once(seed: int) -> None:
    parameters = random_parameters(random.Random(seed), finite=False)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    reading = Branches(has_told)
    for _ in range(30):
        study.optimize(lambda trial: value(suggest(trial, parameters)), n_trials=1)
        trials = study.get_trials(deepcopy=False)
        assert shape(reading.root(trials)) == shape(Branches(has_told).root(trials))
