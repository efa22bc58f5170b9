"""Workers that die: their trials are tried again, and the others wait no longer than they must."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import signal
import time

from backends import opened
from backends import python
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_partition import SOOSampler
import storage
from storage._worker import WORKER


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),  # some tests ask by hand
]


# ---- dead workers ----


DYING = """
import sys, time, optuna, storage
study = optuna.create_study(
    storage=storage.open(sys.argv[1], heartbeat=1, grace=2), study_name="one", load_if_exists=True)
def objective(trial):
    if len(sys.argv) > 2: storage.mark_worker(trial)
    trial.suggest_float("x", 0, 1)
    print("runs", flush=True)
    time.sleep(600)
study.optimize(objective)
"""


def killed(url: str, *marked: str) -> None:
    """A worker that was killed in its first trial."""
    with python(DYING, url, *marked) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "runs\n"
        worker.send_signal(signal.SIGKILL)


def searched(backend: BaseStorage) -> optuna.Study:
    random = optuna.samplers.RandomSampler()
    return optuna.load_study(study_name="one", storage=backend, sampler=random)


def test_the_trial_of_a_killed_worker_is_failed_and_tried_again(empty_database: str) -> None:
    killed(empty_database)
    with opened(empty_database, heartbeat=1, grace=600) as backend:
        study = searched(backend)
        assert storage.recover(study) == [], "nobody wrote down whose it is"
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        assert study.trials[0].state is TrialState.RUNNING, "it may still live"
    with opened(empty_database, heartbeat=1, grace=2) as backend:
        study = searched(backend)
        for _ in range(600):
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
            if study.trials[0].state is TrialState.FAIL:
                break
            time.sleep(0.5)
        *_, again = study.trials
        assert again.params == study.trials[0].params and again.state is TrialState.COMPLETE


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:///"])
def test_on_the_same_machine_it_is_noticed_at_once(tmp_path: Path, kind: str) -> None:
    """And tried again, with a heartbeat or without one."""
    url = f"{kind}{tmp_path}/study"
    killed(url, "marked")
    with opened(url) as backend:
        study = optuna.load_study(study_name="one", storage=backend)
        assert storage.recover(study) == [0]
        assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    """Here it would be a worker that is gone."""
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        trial = study.ask()
        storage.mark_worker(trial)
        _, *process, start = trial.user_attrs[WORKER].split(":")
        gone = ":".join([*process, str(int(start) - 1)])
        trial.set_user_attr(WORKER, f"elsewhere/1:{gone}")
        assert storage.recover(study) == []


def test_a_number_that_another_process_has_now_is_not_the_worker(tmp_path: Path) -> None:
    """After a reboot, or in a container where each is process 1."""
    with opened(f"journal:///{tmp_path}/study.log") as backend:
        study = optuna.create_study(storage=backend)
        trials = [study.ask(), study.ask()]
        for trial in trials:
            storage.mark_worker(trial)
        mark, _, start = trials[1].user_attrs[WORKER].rpartition(":")
        trials[1].set_user_attr(WORKER, f"{mark}:{int(start) - 1}")
        assert storage.recover(study) == [1]


# ---- turns ----


def count_complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def up_to(count: int) -> Callable[[Sequence[FrozenTrial]], float]:
    """What is left of so many."""
    return lambda done: count - len(done)


def test_a_worker_does_not_ask_for_a_trial_too_many(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        turns = storage.Turns(up_to(2), count_complete, look=0.01)
        study.tell(study.ask(), 1.0)
        assert turns.wait(study)
        study.tell(study.ask(), 1.0)
        assert not turns.wait(study)


def test_a_worker_waits_for_the_last_trial_and_takes_it_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url) as backend, python(DYING, url, "marked") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "runs\n"
        study = optuna.load_study(study_name="one", storage=backend)
        looks = 0

        def complete(study: optuna.Study) -> list[FrozenTrial]:
            nonlocal looks
            looks += 1
            assert looks < 300, "a heartbeat would take minutes"
            if looks == 5:
                other.kill()
                other.wait()
            return count_complete(study)

        assert storage.Turns(up_to(1), complete, look=0.1).wait(study), "it is needed again"
        assert looks >= 5, "as long as the other lived, it was not"
        assert study.trials[0].state is TrialState.FAIL


@pytest.mark.parametrize("url", ["sqlite:///{}/study.db", "journal:///{}/study.log"])
def test_a_trial_that_was_left_before_its_mark_is_given_up(tmp_path: Path, url: str) -> None:
    with opened(url.format(tmp_path)) as backend:
        study = optuna.create_study(storage=backend)
        study.ask()
        assert storage.Turns(up_to(1), count_complete, look=0.05, grace=0.3).wait(study)
        assert study.trials[0].state is TrialState.FAIL


def test_where_no_death_is_noticed_a_worker_does_not_wait(tmp_path: Path) -> None:
    with opened(f"journal:///{tmp_path}/study.log") as backend:
        study = optuna.create_study(storage=backend)
        study.ask().set_user_attr(WORKER, "elsewhere/1:1:0:0")
        assert not storage.Turns(up_to(1), count_complete, grace=60).wait(study)


@pytest.mark.parametrize("lives", [True, False])
def test_where_every_point_is_taken_a_worker_waits_for_those_in_flight(
    tmp_path: Path, lives: bool
) -> None:
    """To take one over; but it repeats none."""
    space = {"x": optuna.distributions.IntDistribution(0, 1)}
    sampler = SOOSampler(search_space=space)
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend, sampler=sampler)
        turns = storage.Turns(up_to(9), count_complete, exhausted=sampler.is_exhausted, look=0.1)
        study.tell(study.ask(space), 1.0)
        assert turns.wait(study)
        storage.mark_worker(last := study.ask(space))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(turns.wait, study)
            try:
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=1)
            finally:  # or it would wait for ever
                study.tell(last, *([1.0] if lives else [None, TrialState.FAIL]))
            assert waiting.result(timeout=60) is not lives


# ---- interrupted trials ----


SPACE = {name: optuna.distributions.FloatDistribution(0, 1) for name in "xy"}


def value(trial: optuna.Trial) -> float:
    storage.mark_worker(trial)
    return sum(trial.suggest_float(name, 0, 1) for name in SPACE)


def interrupted(study: optuna.Study) -> None:
    """A search of this process that is interrupted in its first trial."""

    def run(trial: optuna.Trial) -> float:
        value(trial)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(run, n_trials=1)


def queue(study: optuna.Study) -> list[dict[str, float]]:
    return [trial.params for trial in study.trials if trial.state is TrialState.WAITING]


@pytest.mark.parametrize("start", [{"x": 0.25, "y": 0.75}, {"x": 0.25}])
def test_what_was_enqueued_is_put_back_once_as_often_as_it_is_interrupted(
    tmp_path: Path, start: dict[str, float]
) -> None:
    """Whole or in part; the rest is as the sampler has completed it."""
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend, sampler=SOOSampler(search_space=SPACE))
        study.enqueue_trial(start)
        for number in range(4):
            interrupted(study)
            assert storage.put_back(study, count_complete) == [number]
            assert storage.put_back(study, count_complete) == [], "it is there already"
            assert queue(study) == [study.trials[0].params], "one, with the point of the first"
            assert study.trials[-1].system_attrs["retry_history"] == list(range(number + 1))
        study.optimize(value, n_trials=5)
        points = [tuple(trial.params.values()) for trial in study.trials if trial.values]
        assert points[0][0] == 0.25 and len(set(points)) == 5, "nothing is evaluated twice"


def test_what_a_partition_asked_for_or_another_process_ran_is_not_put_back(
    tmp_path: Path,
) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        soo = SOOSampler(search_space=SPACE)
        study = optuna.create_study(storage=backend, sampler=soo, study_name="one")
        interrupted(study)
        interrupted(searched(backend))
        study.enqueue_trial({"x": 0.5})
        trial = study.ask()
        trial.set_user_attr(WORKER, f"elsewhere/1:1:{trial.number}:0")
        study.tell(trial, state=TrialState.FAIL)
        assert storage.put_back(study, count_complete) == [1]


def test_what_failed_by_itself_is_not_put_back(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        study.enqueue_trial({"x": 0.5, "y": 0.5})
        interrupted(study)
        assert storage.put_back(study, lambda study: study.trials) == []


# ---- what a trial is tried again with, and how often ----


def died(study: optuna.Study) -> None:
    """A trial whose worker died, as its mark says."""
    trial = study.ask()
    value(trial)
    mark, _, start = trial.user_attrs[WORKER].rpartition(":")
    trial.set_user_attr(WORKER, f"{mark}:{int(start) - 1}")


def test_only_deaths_use_up_the_retries(tmp_path: Path) -> None:
    """A start that was interrupted twice was lost with the first worker that died of anything."""
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend, sampler=SOOSampler(search_space=SPACE))
        study.enqueue_trial({"x": 0.25})
        for attempt in range(8):
            assert len(queue(study)) == 1
            if attempt in (3, 6, 7):
                died(study)
                assert storage.recover(study) == [attempt]
            else:
                interrupted(study)
                assert storage.put_back(study, count_complete) == [attempt]
        assert queue(study) == [] and storage.take_up(study, count_complete) == []


def test_a_retry_has_what_its_trial_was_given_and_nothing_of_what_it_measured(
    tmp_path: Path,
) -> None:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        study.enqueue_trial({"x": 0.25}, user_attrs={"baseline": True})
        for number in range(2):
            died(study)
            study._storage.set_trial_user_attr(study.trials[-1]._trial_id, "steps", 7)
            assert storage.recover(study) == [number]
            assert study.trials[-1].user_attrs == {"baseline": True}


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_nobody_has_put_back_is_taken_up_once_its_process_is_gone(
    tmp_path: Path, is_gone: bool
) -> None:
    """As after a second Ctrl-C, in the middle of that."""
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend, sampler=SOOSampler(search_space=SPACE))
        study.enqueue_trial({"x": 0.25})
        died(study)
        trial = study.trials[0]
        if not is_gone:  # it may be about to
            study._storage.set_trial_user_attr(trial._trial_id, WORKER, "elsewhere/1:1:0:0")
        study.tell(0, state=TrialState.FAIL)
        assert storage.take_up(study, count_complete) == ([0] if is_gone else [])
        assert storage.take_up(study, count_complete) == [] and len(queue(study)) == is_gone
