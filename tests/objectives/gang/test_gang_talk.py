"""Between a gang and its ranks, with ranks that answer without training: they start at once."""

from __future__ import annotations

from collections.abc import Callable
import os
import signal
import sys

import pytest

from objectives.errors import UserError
from objectives.gang import supervisor as module
from objectives.gang.supervisor import Gang
from objectives.gang.supervisor import GangFailed
from objectives.gang.wire import Ready
from objectives.job import Failed
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Pruned
from objectives.job import Validation
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters


RATE = 0.0030212471028789878  # as float32 it would be another number
CHOSEN = Hyperparameters(
    learning_rate=RATE, weight_decay=0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12
)
JOB = Job(trial=0, chosen=CHOSEN, adapter="-", micro_batch=1, scoring_batch=1)
RANK = """
import os, signal, time
from objectives.errors import UserError
from objectives.job import *
from objectives.gang.rank import main
def load(experiment, cache, test):
    number = int(os.environ.get("RANK", 0))
    {load}
    def run(job, report):
        {run}
    run.samples_fingerprint, run.notes, run.direction = {samples}, ("data: odd",), "maximize"
    return run
main(load)
"""


def rank(
    run: str = "return Failed('-')", load: str = "pass", samples: str = "'0a1b'"
) -> list[str]:
    """The command of a rank that does so; `number` is its own."""
    return [sys.executable, "-c", RANK.format(run=run, load=load, samples=samples)]


def ask(gang: Gang, report: Callable[[Validation], bool] = lambda validation: False) -> str:
    outcome: Outcome = gang(JOB, report)
    assert isinstance(outcome, Failed)
    return outcome.message


def test_ranks_tell_what_they_learn_from(tiny_experiment: Experiment) -> None:
    with Gang(tiny_experiment, ranks=2, command=rank()) as gang:
        assert gang.start() == gang.start() == Ready("0a1b", ("data: odd",), "maximize")
    with Gang(tiny_experiment, ranks=2, command=rank(samples="str(number)")) as gang:
        with pytest.raises(UserError, match="different samples .*not the same on all machines"):
            gang.start()


def test_a_rank_gets_every_bit_of_a_parameter(tiny_experiment: Experiment) -> None:
    with Gang(tiny_experiment, command=rank("return Failed(job.chosen.learning_rate.hex())")) as g:
        assert ask(g) == RATE.hex()


@pytest.mark.parametrize("warm", [True, False])
def test_warm_ranks_serve_the_next_job_and_cold_ones_do_not(
    tiny_experiment: Experiment, warm: bool
) -> None:
    with Gang(tiny_experiment, warm=warm, command=rank("return Failed(str(os.getpid()))")) as gang:
        assert (ask(gang) == ask(gang)) == warm


def test_an_answer_goes_to_all_ranks(tiny_experiment: Experiment) -> None:
    """Rank 0 reports, both ask, and both hear at the second step that it ends."""
    run = """
        steps = []
        while not report(Validation(len(steps) + 1, len(steps) + 1, 0.5, 9)):
            steps.append(number)
        return Pruned(float(len(steps)))
    """
    seen: list[int] = []

    def report(validation: Validation) -> bool:
        seen.append(validation.step)
        return validation.step == 2

    with Gang(tiny_experiment, ranks=2, command=rank(run.strip())) as gang:
        assert gang(JOB, report) == Pruned(1.0)
        assert seen == [1, 2]


def test_ranks_that_died_between_two_jobs_are_replaced(tiny_experiment: Experiment) -> None:
    with Gang(tiny_experiment, command=rank("return Failed(str(os.getpid()))")) as gang:
        first = ask(gang)
        os.kill(int(first), signal.SIGKILL)
        os.waitid(os.P_PID, int(first), os.WEXITED | os.WNOWAIT)  # until it has; the gang's to see
        assert ask(gang).isdecimal() and ask(gang) != first


def test_a_rank_that_cannot_load_is_an_error_and_not_a_trial(tiny_experiment: Experiment) -> None:
    with pytest.raises(UserError, match="^lower it$"):
        Gang(tiny_experiment, command=rank(load="raise UserError('lower it')")).start()
    with pytest.raises(GangFailed, match="rank 0 could not load: ValueError: no"):
        Gang(tiny_experiment, command=rank(load="raise ValueError('no')")).start()
    with pytest.raises(GangFailed, match="rank 1 exited with status 3 while loading"):
        Gang(tiny_experiment, ranks=2, command=rank(load="os._exit(3) if number else 0")).start()


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_the_user_can_mend_ends_the_search_and_not_a_trial(
    tiny_experiment: Experiment, ranks: int
) -> None:
    """One rank says so and the others wait for it: as where the first writes the adapter."""
    run = "if number: time.sleep(1000)\n        raise UserError('make room')"
    with Gang(tiny_experiment, ranks=ranks, command=rank(run)) as gang:
        with pytest.raises(UserError, match="^make room$"):
            ask(gang)
        assert not gang._ranks


def test_the_same_exception_in_three_trials_in_a_row_ends_the_study(
    tiny_experiment: Experiment,
) -> None:
    with Gang(tiny_experiment, command=rank("raise ValueError('shapes')")) as gang:
        assert ask(gang) == ask(gang) == "rank 0 raised ValueError: shapes"
        with pytest.raises(GangFailed, match="raised ValueError: shapes, 3 times in a row"):
            ask(gang)


def test_a_rank_that_fails_alone_is_the_trial_s_failure(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.5)
    run = "return Failed('nan') if number else time.sleep(1000)"
    with Gang(tiny_experiment, ranks=2, command=rank(run)) as gang:
        assert ask(gang) == "nan" and not gang._ranks


@pytest.mark.parametrize(("ranks", "who"), [(1, "0"), (2, "0 and 1")])
def test_ranks_that_hang_end_at_the_time_limit(
    tiny_experiment: Experiment, ranks: int, who: str
) -> None:
    """And others come in their place. All hang, as where a sum over them waits for the last."""
    run = rank("time.sleep(1000)")
    with Gang(tiny_experiment, ranks=ranks, time_limit=0.5, command=run) as gang:
        gang.start()
        before = [each.process for each in gang._ranks]
        assert ask(gang) == f"rank {who} not done within the time limit of 0.5 s"
        assert [process.poll() for process in before] == [-signal.SIGKILL] * ranks
        gang.start()
        assert not {each.process.pid for each in gang._ranks} & {old.pid for old in before}


def test_a_report_that_raises_ends_the_ranks(tiny_experiment: Experiment) -> None:
    run = "report(Validation(1, 1, 0.5, 9)); return Failed('-')"

    def report(validation: Validation) -> bool:
        raise KeyboardInterrupt

    with Gang(tiny_experiment, command=rank(run)) as gang:
        gang.start()
        process = gang._ranks[0].process
        with pytest.raises(KeyboardInterrupt):
            gang(JOB, report)
        assert process.poll() == -signal.SIGKILL


def test_each_rank_has_its_place_and_its_gpu(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"]
    run = f"return Failed(' '.join(os.environ.get(name, '-') for name in {names}))"
    with Gang(tiny_experiment, devices=["4", "5"], command=rank(run)) as gang:
        assert ask(gang) == "- - - 4 6", "a rank alone is as this process"
    alone = f"time.sleep(1000) if number == 0 else 0; {run}"
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.1)
    with Gang(tiny_experiment, ranks=2, devices=["4", "5"], command=rank(alone)) as gang:
        assert ask(gang) == "1 1 2 4,5 3"
