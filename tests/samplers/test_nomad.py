"""NOMADSampler against NOMAD itself: a plain `PyNomad.optimize` in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import math
import os
from pathlib import Path
import pickle
import subprocess
import sys
import time

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase
from optuna.trial import TrialState
from plain_nomad import places
from plain_nomad import plain
import pytest

from optuna_partition import NOMADSampler


pytestmark = pytest.mark.skipif(find_spec("PyNomad") is None, reason="needs PyNomadBBO")

Space = dict[str, BaseDistribution]
Params = dict[str, object]

BOX: Space = {"x": FloatDistribution(-5, 10), "y": FloatDistribution(0, 15)}
MIXED: Space = {
    "rank": IntDistribution(2, 64),
    "lr": FloatDistribution(1e-10, 1e-1, log=True),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}


BOWL = "(x[0] - 3.3) ** 2 + 2 * (x[1] - 4.1) ** 2 + 0.3 * x[0] * x[1]"


def bowl(trial: optuna.Trial) -> float:
    x = [trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)]
    return float(eval(BOWL, {"x": x}))


def plain_bowl(seed: int = 0) -> list[list[float]]:
    return plain(BOWL, [2.5, 7.5], [-5, 0], [10, 15], seed=seed)


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: NOMADSampler()


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("given", [True, False])
def test_one_worker_gets_the_points_of_nomad(seed: int, given: bool) -> None:
    sampler = NOMADSampler(search_space=BOX if given else None, seed=seed)
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=40)
    assert places(study) == plain_bowl(seed)


def test_maximising_is_minimising_the_negative() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX), direction="maximize")
    study.optimize(lambda trial: -bowl(trial), n_trials=20)
    assert places(study) == plain_bowl()[:20]


def test_integers_logarithms_and_categories_are_variables_of_nomad() -> None:
    value = "(x[0] - 15) ** 2 / 100 + (x[1] + 4.2) ** 2 + 0.5 * (x[2] - 2) ** 2"

    def objective(trial: optuna.Trial) -> float:
        rank = trial.suggest_int("rank", 2, 64)
        lr = trial.suggest_float("lr", 1e-10, 1e-1, log=True)
        kind = "abc".index(trial.suggest_categorical("kind", ["a", "b", "c"]))
        return float(eval(value, {"x": [rank - 2, round(math.log10(lr), 9), kind]}))

    study = optuna.create_study(sampler=NOMADSampler(search_space=MIXED))
    study.optimize(objective, n_trials=30)
    theirs = plain(value, [31, -5.5, 1], [0, -10, 0], [62, -1, 2], "IRI", evaluations=30)
    for trial, (rank, lr, kind) in zip(study.trials, theirs, strict=True):
        assert trial.params["rank"] == rank + 2
        assert math.log10(trial.params["lr"]) == pytest.approx(lr, abs=1e-9)
        assert trial.params["kind"] == "abc"[int(kind)]


def test_a_failed_trial_is_a_failed_evaluation() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if trial.params["y"] < 3:
            raise RuntimeError
        if trial.params["x"] < 1:
            raise optuna.TrialPruned
        return math.inf if trial.params["y"] > 9 else value

    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    study.optimize(objective, n_trials=30, catch=(RuntimeError,))
    failing = f"None if x[1] < 3 or x[0] < 1 or x[1] > 9 else {BOWL}"
    assert places(study) == plain(failing, [2.5, 7.5], [-5, 0], [10, 15], evaluations=30)
    assert {t.state for t in study.trials} >= {TrialState.FAIL, TrialState.PRUNED}


def test_another_sampler_object_goes_on_with_the_same_points() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    for _ in range(4):
        study.optimize(bowl, n_trials=5)
        study.sampler = NOMADSampler(search_space=BOX)
        study.optimize(bowl, n_trials=5)
        study.sampler = pickle.loads(pickle.dumps(study.sampler))
    assert places(study) == plain_bowl()


def test_one_sampler_serves_two_studies_in_turn() -> None:
    sampler = NOMADSampler(search_space=BOX)
    studies = [optuna.create_study(sampler=sampler) for _ in range(2)]
    for _ in range(5):
        studies[0].optimize(bowl, n_trials=1)
        studies[1].optimize(lambda trial: -bowl(trial), n_trials=1)
    assert places(studies[0]) == plain_bowl()[:5]
    assert places(studies[1]) != places(studies[0])


def test_points_in_flight_are_the_rest_of_the_poll() -> None:
    value = "(x[0] - 2.5) ** 2 + (x[1] - 7.5) ** 2"  # least at the centre: no poll succeeds
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    ours = [list(study.ask(dict(BOX)).params.values()) for _ in range(4)]
    assert ours == plain(value, [2.5, 7.5], [-5, 0], [10, 15], evaluations=4)


def test_a_value_that_comes_late_is_learnt_from() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    for _ in range(10):
        trials = [study.ask(dict(BOX)) for _ in range(4)]
        for trial in reversed(trials):
            study.tell(trial, bowl(trial))
    assert len({tuple(place) for place in places(study)}) == 40
    assert study.best_value < min(trial.value or math.inf for trial in study.trials[:4])


def test_threads_never_get_a_point_twice() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    study.optimize(bowl, n_trials=32, n_jobs=4)
    assert len({tuple(place) for place in places(study)}) == 32


WORKER = """
import sys, time, optuna
from optuna.distributions import FloatDistribution
from optuna_partition import NOMADSampler
space = {"x": FloatDistribution(-5, 10), "y": FloatDistribution(0, 15)}
sampler = NOMADSampler(search_space=space)
study = optuna.load_study(study_name="s", storage=sys.argv[1], sampler=sampler)
def objective(trial):
    x, y = trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)
    time.sleep(0.01)
    return (x - 3) ** 2 + (y - 4) ** 2
study.optimize(objective, n_trials=8)
"""


def test_processes_never_get_a_point_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=url)
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, url]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(study.trials) == len({tuple(place) for place in places(study)}) == 16


def test_the_best_trial_before_is_where_it_begins() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    for x, y in ((0.0, 1.0), (3.0, 4.0), (9.0, 9.0)):
        study.enqueue_trial({"x": x, "y": y})
    study.optimize(bowl, n_trials=23)
    assert places(study)[3:] == plain(BOWL, [3, 4], [-5, 0], [10, 15], evaluations=21)[1:]


def test_an_enqueued_point_is_not_asked_for_before_it_has_suggested_anything() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(BOX)))
    study.enqueue_trial({"x": 2.5, "y": 7.5})
    study.ask()
    assert study.ask(dict(BOX)).params != {"x": 2.5, "y": 7.5}


def test_a_centre_that_failed_is_left_for_a_random_start(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX, seed=0))

    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if trial.number == 0:
            raise RuntimeError
        return value

    study.optimize(objective, n_trials=12, catch=(RuntimeError,))
    first, second, *rest = places(study)
    assert first == [2.5, 7.5]
    theirs = plain(BOWL, second, [-5, 0], [10, 15], evaluations=20)
    anew = {tuple(f"{v:.12g}" for v in x): x for x in reversed(theirs)}  # it repeats a point + ulp
    assert rest == [x for x in theirs if x in anew.values()][1:11]
    left = {record.message for record in caplog.records if "leaves trial" in record.message}
    assert [message.split("`")[2] for message in left] == [" leaves trial 1 to "]


def test_the_point_of_a_worker_that_died_is_given_again_three_times() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    for _ in range(3):
        trial = study.ask(dict(BOX))
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # as a heartbeat
        assert list(trial.params.values()) == [2.5, 7.5]
    assert list(study.ask(dict(BOX)).params.values()) != [2.5, 7.5]


def test_the_point_of_an_enqueued_trial_that_was_interrupted_is_given_again() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    study.enqueue_trial({"x": 2.5, "y": 7.5})
    trial = study.ask(dict(BOX))
    study._storage.set_trial_system_attr(trial._trial_id, "partition:nomad", {"of": "later"})
    study.tell(trial, state=TrialState.FAIL)
    assert list(study.ask(dict(BOX)).params.values()) == [2.5, 7.5]


@pytest.mark.parametrize("killed", [False, True])
def test_an_ended_nomad_leaves_the_trial_to_the_independent_sampler(
    killed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    optuna.logging.enable_propagation()
    space: Space = {"n": IntDistribution(0, 2)}
    sampler = NOMADSampler(search_space=space, seed=1)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_int("n", 0, 2), n_trials=1)
    if killed:
        assert sampler._run is not None
        sampler._run._process.kill()
    study.optimize(lambda trial: trial.suggest_int("n", 0, 2), n_trials=6)
    assert len(study.trials) == 7
    told = {id(r) for r in caplog.records if "suggests nothing more" in r.message}
    assert len(told) == 1
    assert ("its process was ended by SIGKILL" if killed else "it has converged") in caplog.text
    if not killed:
        assert study.best_params == {"n": 0}


def test_what_comes_after_nomad_is_drawn_by_trial() -> None:
    """No stream of random numbers begins anew with a process."""
    space: Space = {"n": IntDistribution(0, 1), "x": FloatDistribution(0, 1)}

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("n", 0, 1)
        return trial.suggest_float("x", 0, 1)

    study = optuna.create_study()
    for _ in range(3):
        study.sampler = NOMADSampler(search_space={"n": space["n"]}, seed=1)
        study.optimize(objective, n_trials=2)
    assert len({trial.params["x"] for trial in study.trials}) == 6


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    space: Space = {"n": IntDistribution(0, 9)}  # NOMAD says that all variables are granular
    study = optuna.create_study(sampler=NOMADSampler(search_space=space))
    study.optimize(lambda trial: (trial.suggest_int("n", 0, 9) - 3) ** 2, n_trials=4)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf, 1e308, -1e308])
def test_a_plateau_or_a_huge_value_does_not_end_nomad(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    study.optimize(lambda t: bowl(t) if t.number in (0, 5) else bowl(t) * 0 + value, n_trials=30)
    assert "leaves trial" not in caplog.text
    assert len({tuple(place) for place in places(study)}) == 30


def test_a_fork_does_not_talk_to_its_parents_nomad() -> None:
    study = optuna.create_study(sampler=NOMADSampler(search_space=BOX))
    study.optimize(bowl, n_trials=10)
    pid = os.fork()
    if pid == 0:
        study.optimize(bowl, n_trials=5)
        os._exit(0 if places(study) == plain_bowl()[:15] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    study.optimize(bowl, n_trials=10)
    assert places(study) == plain_bowl()[:20]


def test_nomad_ends_with_a_killed_worker() -> None:
    code = (
        "import os, signal, optuna; from optuna.distributions import FloatDistribution as F; "
        "from optuna_partition import NOMADSampler; s = NOMADSampler(search_space={'x': F(0, 1)});"
        "optuna.create_study(sampler=s).ask({'x': F(0, 1)}); "
        "print(s._run._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    worker = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    nomad, deadline = Path(f"/proc/{int(worker.stdout)}/cmdline"), time.monotonic() + 120
    while nomad.exists() and b"_nomad_process" in nomad.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_another_value_of_a_fixed_parameter_is_another_search() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = bowl(trial)
        return value if trial.suggest_categorical("a", ["u", "v"]) == "v" else -value

    def points(*fixed: str) -> list[Params]:
        study = optuna.create_study()
        for a in fixed:
            study.sampler = PartialFixedSampler({"a": a}, NOMADSampler(search_space=dict(BOX)))
            study.optimize(objective, n_trials=25)
        return [trial.params for trial in study.trials]

    both, u, v = points("u", "v"), points("u"), points("v")
    assert both == u + v
