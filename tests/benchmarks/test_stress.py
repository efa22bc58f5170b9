"""Several processes on one study, killed and replaced: one live trial per point, nothing lost."""

from __future__ import annotations

import os
from pathlib import Path
import sys

import optuna
import pytest


sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks._stress_checks import judge
from benchmarks._stress_checks import Verdict
from benchmarks._stress_run import Plan
from benchmarks._stress_run import run
from benchmarks._stress_run import serving
from benchmarks._stress_servers import MYSQL
from benchmarks._stress_servers import POSTGRES
from benchmarks._stress_worker import SAMPLERS
from benchmarks._stress_worker import space


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

CLEAN = Verdict(duplicates=0, lost=0, outside=0, repeated=0)
SERVERS = {"postgres": POSTGRES, "mysql": MYSQL}
SAMPLER = {  # a storage does not know what is asked of it: each rule, told the space or not, once
    "sqlite": "soo-inferred",
    "journal": "direct-inferred",
    "grpc": "soo",
    "postgres": "direct",
    "mysql": "direct",
}


@pytest.fixture(params=["sqlite", "journal", "grpc", "postgres", "mysql"])
def kind(request: pytest.FixtureRequest) -> str:
    """A storage that is at hand: the program would start servers, the tests are given theirs."""
    kind: str = request.param
    variable = SERVERS.get(kind)
    if variable and not os.environ.get(variable):
        pytest.skip(f"no server: set {variable} to a database URL")
    return kind


def test_killed_workers_lose_nothing_and_repeat_nothing(kind: str) -> None:
    """The proxy crashes once as well, and all workers lose their connection.

    Workers that infer the space begin together, and none knows what the others will suggest.
    """
    with serving(kind) as server:
        plan = Plan(SAMPLER[kind], processes=3, trials=24, kills=2, restart=True)
        result = run(plan, server)
    assert result.verdict == CLEAN
    assert result.killed == 2
    assert result.trials >= 24
    assert result.restarted is (kind == "grpc")


def test_killed_workers_of_bamsoo_repeat_nothing() -> None:
    """Fewer, for each imports torch; which cell comes next is the model's to say.

    It knows all that may be known before: a prior, and an earlier study.
    """
    with serving("sqlite") as server:
        result = run(Plan("bamsoo-known", processes=2, trials=10, kills=1, restart=False), server)
    assert result.verdict == Verdict(duplicates=0, outside=0)
    assert result.killed == 1
    assert result.trials >= 10


@pytest.fixture
def ended() -> optuna.Study:
    """A search of 20 trials by one process, in memory."""
    study = optuna.create_study(sampler=SAMPLERS["soo"](space(60)))
    for number in range(20):
        study.tell(study.ask(space(60)), number % 7)
    return study


def verdict(trials: list[optuna.trial.FrozenTrial]) -> Verdict:
    return judge(trials, SAMPLERS["soo"](space(60)), space(60))


def test_a_plain_search_is_found_clean(ended: optuna.Study) -> None:
    assert verdict(ended.trials) == CLEAN


def test_a_point_evaluated_again_is_found(ended: optuna.Study) -> None:
    ended.add_trial(ended.trials[3])
    assert verdict(ended.trials).duplicates == 1


def test_a_cell_whose_parent_was_never_opened_is_found(ended: optuna.Study) -> None:
    trials = ended.trials
    first = next(trial for trial in trials if trial.system_attrs["partition"]["opened"])
    first.system_attrs["partition"]["opened"] = []
    assert verdict(trials).outside


def test_a_cell_that_never_comes_again_is_found(ended: optuna.Study) -> None:
    """As if the sampler took the trial of a dead worker for a failure of the objective."""
    trial = ended.ask(space(60))
    with pytest.warns(UserWarning, match="nan is not acceptable"):
        ended.tell(trial, float("nan"))
    assert ended.trials[-1].system_attrs["partition"]["failed"]
    assert verdict(ended.trials).lost == 1
