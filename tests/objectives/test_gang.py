"""Gangs: values as in one process, and every fault one trial's, the next one's value as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import time

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
import torch

from objectives.bench import load_bench
from objectives.config import Experiment
from objectives.gang import Gang
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Report
from objectives.job import Validation
from objectives.objective import LoraObjective
from objectives.runner import Runner
from objectives.search_space import Range
from objectives.search_space import SearchSettings
from objectives.sections import StudySettings
from objectives.sections import TrainingSettings


PARAMS = {"learning_rate": 0.0051234567890123456, "rank": 4, "dropout": 0.2}
PLAIN = PARAMS | {"dropout": 0.0}
FAULTY = Path(__file__).with_name("faulty_rank.py")
SECONDS = 10.0  # a trial takes a twentieth of that on an idle machine
FAULTS = {  # trial -> fault, in the last rank
    2: "no memory",
    4: "kill",
    6: "hang",
    8: "mistake",
    10: "prune",
}
FAILURES = {
    "no memory": "out of memory at step 3 with micro-batch 1 and learning_rate 0.00512",
    "kill": "rank {rank} was killed by SIGKILL",
    "hang": "not done within the time limit of 10.0 s",
    "mistake": "rank {rank} raised RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Here as in the ranks: the order of a sum is part of the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    search = SearchSettings(
        learning_rate=Range(low=1e-6, high=1e30, log=True),
        weight_decay=0.1,
        rank=Range(low=1, high=8),
        alpha=8.0,
        dropout=Range(low=0.0, high=0.5),
        effective_batch=12,
    )
    training = TrainingSettings(validations=2, micro_batch=1)
    study = StudySettings(checkpoints="none")  # all trials are the same, and none is to go on
    return tiny_experiment.model_copy(
        update={"training": training, "search": search, "study": study}
    )


@pytest.fixture(scope="module")
def alone(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[FrozenTrial]:
    """A trial in this process, without dropout and with."""
    run = Runner(experiment, load_bench(experiment), None)
    objective = LoraObjective(experiment, run, tmp_path_factory.mktemp("alone"))
    return trials(objective, PLAIN, PARAMS)


class Prune(BasePruner):
    """Ends the planned trial at its first report."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return FAULTS.get(trial.number) == "prune"


@dataclass(frozen=True)
class Night:
    """A gang in which every fault happened, each followed by a trial in peace.

    Attributes:
        trials: The first without dropout, all others the same.
        ranks: Size of the gang.
        seconds: Trial -> from its last report until it was over.
        processes: Trial -> rank 0's, after it.
    """

    trials: list[FrozenTrial]
    ranks: int
    seconds: dict[int, float]
    processes: dict[int, int | None]


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def night(
    request: pytest.FixtureRequest,
    experiment: Experiment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Night:
    ranks: int = request.param
    seconds: dict[int, float] = {}
    processes: dict[int, int | None] = {}
    plan = {"rank": ranks - 1, "faults": FAULTS | {10: None}}
    command = [sys.executable, str(FAULTY), json.dumps(plan)]
    with Gang(experiment, ranks=ranks, time_limit=SECONDS, command=command) as gang:

        def timed(job: Job, report: Report) -> Outcome:
            def noted(validation: Validation) -> bool:
                seconds[job.trial] = time.monotonic()
                return report(validation)

            outcome = gang(job, noted)
            seconds[job.trial] = time.monotonic() - seconds[job.trial]
            processes[job.trial] = gang._ranks[0].process.pid if gang._ranks else None
            return outcome

        objective = LoraObjective(experiment, timed, tmp_path_factory.mktemp("night"))
        done = trials(objective, PLAIN, *[PARAMS] * 11, pruner=Prune())
    return Night(done, ranks, seconds, processes)


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
    close = pytest.approx if night.ranks > 1 else lambda values, rel: values
    same = [(night.trials[0], alone[0])]
    if night.ranks == 1:
        same.append((night.trials[1], alone[1]))
    for trial, expected in same:
        assert trial.intermediate_values == close(expected.intermediate_values, rel=1e-6)
        assert trial.value == trial.intermediate_values[2]
        timed = {"adapter", "peak_memory"} | {k for k in trial.user_attrs if "second" in k}
        assert trial.user_attrs.keys() == expected.user_attrs.keys()
        for name in trial.user_attrs.keys() - timed - {"validation_loss", "validation_losses"}:
            assert trial.user_attrs[name] == expected.user_attrs[name]
    assert night.trials[1].value == pytest.approx(alone[1].value, rel=0.05)
    assert night.trials[1].params == PARAMS


@pytest.mark.parametrize("fault", FAULTS.values())
def test_a_fault_is_one_trial_s(night: Night, fault: str) -> None:
    number = next(n for n, f in FAULTS.items() if f == fault)
    before, met, after = night.trials[number - 1 : number + 2]
    if fault == "prune":
        assert met.state is TrialState.PRUNED and "failure" not in met.user_attrs
    else:
        assert met.state is TrialState.FAIL
        failure = FAILURES[fault].format(rank=night.ranks - 1)
        assert failure in met.user_attrs["failure"]
    assert met.user_attrs["steps"] == 2 and met.intermediate_values.keys() == {1}
    assert met.intermediate_values[1] == night.trials[1].intermediate_values[1]
    assert after.state is TrialState.COMPLETE and after.value == night.trials[1].value
    survives = fault == "prune" or (fault == "no memory" and night.ranks == 1)
    assert (night.processes[number] is not None) == survives
    if survives:
        assert night.processes[number - 1] == night.processes[number + 1]


def test_the_table_of_faults(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed; a fault is seen when it happens, and a hang at the time limit."""
    with capsys.disabled():
        print(f"\n{'fault':<12}{'ranks':<7}{'seen after s':<14}{'next trial s':<14}its value")
        for number, fault in FAULTS.items():
            after = night.trials[number + 1]
            same = "the same" if after.value == night.trials[1].value else f"{after.value}"
            seconds = after.duration.total_seconds()
            row = f"{fault:<12}{night.ranks:<7}{night.seconds[number]:<14.2f}{seconds:<14.1f}"
            print(f"{row}{same}")
    for number, fault in FAULTS.items():
        if fault != "hang":
            assert night.seconds[number] < SECONDS
        else:
            assert night.seconds[number] > SECONDS / 2


@pytest.mark.parametrize("night", [2], indirect=True)
def test_memory_of_one_rank_that_is_too_little_for_two_samples(
    night: Night, experiment: Experiment, tmp_path: Path
) -> None:
    """All ranks start again with one sample: as if they had begun so."""
    training = experiment.training.model_copy(update={"micro_batch": 2})
    experiment = experiment.model_copy(update={"training": training})
    plan = {"rank": 1, "faults": {0: "little memory"}}
    command = [sys.executable, str(FAULTY), json.dumps(plan)]
    with Gang(experiment, ranks=2, command=command) as gang:
        halved, following = trials(LoraObjective(experiment, gang, tmp_path), PARAMS, PARAMS)
    assert halved.value == following.value == night.trials[1].value
    assert halved.user_attrs["micro_batch"] == following.user_attrs["micro_batch"] == 1
