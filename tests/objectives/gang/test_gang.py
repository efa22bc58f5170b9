"""Gangs: values as in one process, and every fault one trial's, the next one's value as ever."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import json
import math
from pathlib import Path
import sys

from commands import one_thread
from gangs import experiment
from gangs import FAULTY
from gangs import PARAMS
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from rounding import LOSS

from objectives.gang.supervisor import Gang
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Report
from objectives.model.bench import load_bench
from objectives.objective import LoraObjective
from objectives.scoring.losses import per_forward
from objectives.settings.config import Experiment
from objectives.training.runner import Runner


__all__ = ["experiment", "one_thread"]  # fixtures

PLAIN = PARAMS | {"dropout": 0.0}
FAULTS = {"prune": 2, "no memory": 4, "mistake": 4, "kill": 6}  # the trial, in the last rank
MET_BY = {1: ("prune", "no memory", "kill"), 2: ("prune", "mistake")}
"""A rank alone raises as ranks do that do not train; two of which one is killed are elsewhere.

Two of which one has no memory are there in the end, in the gang's two trials with two samples.
"""
FAILURES = {
    "no memory": "out of memory at step 3 with micro-batch 1 and learning_rate 0.00512",
    "kill": "rank {rank} was killed by SIGKILL",
    "mistake": "rank {rank} raised RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}


def met_by(ranks: int) -> dict[str, int]:
    """Fault -> trial."""
    return {fault: FAULTS[fault] for fault in MET_BY[ranks]}


@pytest.fixture(scope="module")
def alone(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[FrozenTrial]:
    """A trial in this process, without dropout and with."""
    run = Runner(experiment, load_bench(experiment), None)
    objective = LoraObjective(experiment, run, tmp_path_factory.mktemp("alone"))
    return trials(objective, PLAIN, PARAMS)


class Prune(BasePruner):
    """Ends the planned trial at its first report."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == FAULTS["prune"]


@dataclass(frozen=True)
class Night:
    """A gang in which every fault happened, each followed by a trial in peace.

    Attributes:
        trials: The first without dropout, all others the same.
        halved: Two more in the same gang, with two samples per forward: the last rank has no
            memory for that in the first.
        ranks: Size of the gang.
        processes: Trial -> rank 0's, after it.
    """

    trials: list[FrozenTrial]
    halved: list[FrozenTrial]
    ranks: int
    processes: dict[int, int | None]


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def night(
    request: pytest.FixtureRequest,
    experiment: Experiment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Night:
    ranks: int = request.param
    processes: dict[int, int | None] = {}
    met = met_by(ranks)
    faults = {n: fault for fault, n in met.items() if fault != "prune"} | {0: "little memory"}
    command = [sys.executable, str(FAULTY), json.dumps({"rank": ranks - 1, "faults": faults})]
    training = experiment.training.model_copy(update={"micro_batch": 2})
    double = experiment.model_copy(update={"training": training})
    with Gang(experiment, ranks=ranks, command=command) as gang:

        def noted(job: Job, report: Report) -> Outcome:
            outcome = gang(job, report)
            processes[job.trial] = gang._ranks[0].process.pid if gang._ranks else None
            return outcome

        objective = LoraObjective(experiment, noted, tmp_path_factory.mktemp("night"))
        done = trials(objective, PLAIN, *[PARAMS] * (max(met.values()) + 1), pruner=Prune())
        objective = LoraObjective(double, gang, tmp_path_factory.mktemp("double"))
        halved = trials(objective, PARAMS, PARAMS)
    return Night(done, halved, ranks, processes)


def trials(
    objective: LoraObjective, *params: dict[str, float], pruner: BasePruner | None = None
) -> list[FrozenTrial]:
    study = optuna.create_study(pruner=pruner or optuna.pruners.NopPruner())
    for each in params:
        study.enqueue_trial(each)
    study.optimize(objective, n_trials=len(params))
    return study.trials


def test_ranks_give_what_this_process_gives(night: Night, alone: list[FrozenTrial]) -> None:
    """To the bit where there is one; as far as sums are floats where two share a step's samples.
    With dropout, two ranks have other masks.
    """
    close = partial(pytest.approx, rel=LOSS) if night.ranks > 1 else lambda values: values
    same = [(night.trials[0], alone[0])]
    if night.ranks == 1:
        same.append((night.trials[1], alone[1]))
    for trial, expected in same:
        assert trial.intermediate_values == close(expected.intermediate_values)
        assert trial.value == trial.intermediate_values[2]
        timed = {"adapter", "peak_memory"} | {k for k in trial.user_attrs if "second" in k}
        assert trial.user_attrs.keys() == expected.user_attrs.keys()
        for name in trial.user_attrs.keys() - timed - {"validation_loss", "validation_losses"}:
            assert trial.user_attrs[name] == expected.user_attrs[name]
    assert night.trials[1].value == pytest.approx(alone[1].value, rel=0.05)
    assert night.trials[1].params == PARAMS


def test_ranks_share_a_step_that_one_forward_would_hold(
    experiment: Experiment, alone: list[FrozenTrial], tmp_path: Path
) -> None:
    """Twelve samples: no rank has memory for more than eight, and each has six."""
    training = experiment.training.model_copy(update={"micro_batch": 12})
    whole = experiment.model_copy(update={"training": training})
    plan = json.dumps({"rank": 1, "faults": {0: "some memory"}})
    with Gang(whole, ranks=2, command=[sys.executable, str(FAULTY), plan]) as gang:
        (trial,) = trials(LoraObjective(whole, gang, tmp_path), PLAIN)
    assert trial.value == pytest.approx(alone[0].value, rel=LOSS)
    assert trial.user_attrs["micro_batch"] == 12


@pytest.mark.parametrize(
    ("samples", "micro_batch", "ranks", "size"),
    [(16, 8, 8, 2), (16, 8, 2, 8), (24, 8, 2, 6), (17, 8, 8, 3), (3, 8, 8, 1), (16, 5, 1, 5)],
)
def test_a_step_takes_as_many_forwards_as_it_must_and_all_ranks_have_some(
    samples: int, micro_batch: int, ranks: int, size: int
) -> None:
    assert per_forward(samples, micro_batch, ranks) == size
    rounds = math.ceil(math.ceil(samples / size) / ranks)
    assert rounds == math.ceil(samples / (ranks * micro_batch))


def test_a_fault_is_one_trial_s(night: Night) -> None:
    for fault, number in met_by(night.ranks).items():
        met, after = night.trials[number : number + 2]
        if fault == "prune":
            assert met.state is TrialState.PRUNED and "failure" not in met.user_attrs
        else:
            assert met.state is TrialState.FAIL, fault
            failure = FAILURES[fault].format(rank=night.ranks - 1)
            assert failure in met.user_attrs["failure"]
        assert met.user_attrs["steps"] == 2 and met.intermediate_values.keys() == {1}
        assert met.intermediate_values[1] == night.trials[1].intermediate_values[1]
        assert after.state is TrialState.COMPLETE and after.value == night.trials[1].value, fault
        survives = fault in ("prune", "no memory")
        assert (night.processes[number] is not None) == survives
        if survives:
            assert night.processes[number - 1] == night.processes[number + 1]


def test_memory_of_one_rank_that_is_too_little_for_two_samples(night: Night) -> None:
    """All ranks start again with one sample: as if they had begun so."""
    for trial in night.halved:
        assert trial.value == night.trials[1].value
        assert trial.user_attrs["micro_batch"] == 1
