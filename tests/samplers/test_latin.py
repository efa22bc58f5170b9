"""Latin hypercube sampling: strata by definition, designs by SciPy, workers by real processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
import math
from pathlib import Path
import pickle
import subprocess
import sys

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase
import pytest
from scipy.stats import qmc

from optuna_partition import LatinHypercubeSampler


UNIT: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in "xyz"}


class TestConformance(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: LatinHypercubeSampler(n_trials=10)


def asked(
    sampler: BaseSampler, space: dict[str, BaseDistribution], trials: int
) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=sampler)
    return [study.ask(dict(space)).params for _ in range(trials)]


def strata(points: list[dict[str, object]], name: str) -> list[int]:
    return [math.floor(point[name] * len(points)) for point in points]  # type: ignore[operator]


@given(n=st.integers(1, 40), block=st.integers(0, 2), seed=st.none() | st.integers(0, 2**70))
@settings(max_examples=25)
def test_every_design_has_one_trial_in_each_stratum_of_every_parameter(
    n: int, block: int, seed: int | None
) -> None:
    sampler = LatinHypercubeSampler(n_trials=n, seed=seed)
    points = asked(sampler, UNIT, n * (block + 1))[n * block :]
    for name in UNIT:
        assert sorted(strata(points, name)) == list(range(n))


def test_parameters_and_designs_have_permutations_of_their_own() -> None:
    points = asked(LatinHypercubeSampler(n_trials=20, seed=3), UNIT, 40)
    orders = {tuple(strata(half, name)) for half in (points[:20], points[20:]) for name in UNIT}
    assert len(orders) == 6


@given(n=st.integers(1, 40), count=st.integers(2, 12), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_finite_parameters_values_have_near_equal_shares(n: int, count: int, seed: int) -> None:
    space: dict[str, BaseDistribution] = {
        "int": IntDistribution(-3, 2 * count - 5, step=2),
        "step": FloatDistribution(0, (count - 1) / 4, step=0.25),
        "choice": CategoricalDistribution([f"c{i}" for i in range(count)]),
    }
    points = asked(LatinHypercubeSampler(n_trials=n, seed=seed), space, n)
    for name in space:
        seen = Counter(point[name] for point in points)
        assert len(seen) <= count
        for shares in [*seen.values(), *[0] * (count - len(seen))]:
            assert abs(shares - n / count) < 2


def test_a_log_scale_has_its_strata_in_the_logarithm() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-10, 1e-1, log=True),
        "rank": IntDistribution(1, 2**9, log=True),
    }
    points = asked(LatinHypercubeSampler(n_trials=9, seed=1), space, 9)
    assert sorted(math.floor(math.log10(p["lr"])) for p in points) == list(range(-10, -1))
    ratio = math.log((2**9 + 0.5) / 0.5) / 9  # nine equal parts from 1/2 to 512 1/2
    low = [0.5 * math.exp(ratio * k) for k in range(10)]
    ranks = sorted(p["rank"] for p in points)
    for rank, a, b in zip(ranks, low, low[1:], strict=False):
        assert round(a) <= rank <= max(1, round(b))


def test_a_space_given_beforehand_gets_scipys_design() -> None:
    for optimization in (None, "random-cd"):
        sampler = LatinHypercubeSampler(
            n_trials=8, search_space=UNIT, optimization=optimization, seed=5
        )
        rng = np.random.default_rng((5, 0))
        theirs = qmc.LatinHypercube(3, optimization=optimization, rng=rng).random(8)
        ours = [list(point.values()) for point in asked(sampler, UNIT, 8)]
        np.testing.assert_array_equal(ours, theirs)


def test_random_cd_spreads_the_trials_more_evenly() -> None:
    def discrepancy(optimization: str | None) -> float:
        found = []
        for seed in range(5):
            sampler = LatinHypercubeSampler(
                n_trials=12, search_space=UNIT, optimization=optimization, seed=seed
            )
            found.append(qmc.discrepancy([list(p.values()) for p in asked(sampler, UNIT, 12)]))
        return float(np.mean(found))

    assert discrepancy("random-cd") < discrepancy(None)


def test_a_column_does_not_depend_on_the_other_parameters() -> None:
    alone = asked(LatinHypercubeSampler(n_trials=6, seed=1), {"y": UNIT["y"]}, 6)
    together = asked(LatinHypercubeSampler(n_trials=6, seed=1), UNIT, 6)
    assert [p["y"] for p in alone] == [p["y"] for p in together]


def test_a_seed_says_the_design_and_none_asks_the_studys_name() -> None:
    def named(name: str | None, seed: int | None) -> object:
        sampler = LatinHypercubeSampler(n_trials=5, seed=seed)
        study = optuna.create_study(study_name=name, sampler=pickle.loads(pickle.dumps(sampler)))
        sampler.reseed_rng()
        return [study.ask(dict(UNIT)).params for _ in range(5)]

    assert named("a", 1) == named("b", 1) != named("b", 2)
    assert named("a", None) == named("a", None) != named("b", None)
    assert named(None, None) != named(None, None)


def test_threads_never_share_a_row() -> None:
    study = optuna.create_study(sampler=LatinHypercubeSampler(n_trials=24))
    with ThreadPoolExecutor(4) as pool:
        points = list(pool.map(lambda _: study.ask(dict(UNIT)).params, range(24)))
    assert sorted(strata(points, "x")) == list(range(24))


WORKER = """
import sys, optuna
from optuna_partition import LatinHypercubeSampler
study = optuna.load_study(
    study_name="s", storage=sys.argv[1], sampler=LatinHypercubeSampler(n_trials=12)
)
study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=6)
"""


def test_processes_never_share_a_row(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=url)
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, url]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    points = [dict(trial.params) for trial in study.trials]
    for name in "xy":
        assert sorted(strata(points, name)) == list(range(12))


@pytest.mark.skipif(find_spec("optuna_integration") is None, reason="needs optuna-integration")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_first_ten_trials_of_botorchsampler_are_a_latin_hypercube() -> None:
    from optuna_integration import BoTorchSampler

    latin = LatinHypercubeSampler(n_trials=10, seed=2)
    study = optuna.create_study(
        sampler=BoTorchSampler(n_startup_trials=10, independent_sampler=latin)
    )
    study.optimize(lambda t: sum(t.suggest_float(name, 0, 1) for name in UNIT), n_trials=10)
    points = [dict(trial.params) for trial in study.trials]
    for name in UNIT:
        assert sorted(strata(points, name)) == list(range(10))
    assert points == asked(latin, UNIT, 10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_trials": 0}, "n_trials >= 1"),
        ({"n_trials": 2.5}, r"integer .* got \(n_trials=2.5\)"),
        ({"n_trials": 5, "search_space": {"x": (0, 1)}}, r"Optuna distributions, .*x=\(0, 1\)"),
        ({"n_trials": 5, "seed": -1}, "seed >= 0"),
        ({"n_trials": 5, "seed": "a"}, r"seed. must be an integer .*seed=.a."),
        ({"n_trials": True}, "n_trials=True"),
        ({"n_trials": 5, "optimization": "lloyd", "search_space": UNIT}, "'random-cd' or None"),
        ({"n_trials": 5, "optimization": "random-cd"}, "give `search_space`"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LatinHypercubeSampler(**arguments)  # type: ignore[arg-type]


def test_without_scipy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optuna_partition._latin.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "optuna-partition\[scipy\]"'):
        LatinHypercubeSampler(n_trials=3)
