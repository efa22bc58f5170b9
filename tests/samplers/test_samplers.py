"""The samplers as Optuna's users use them: spaces, failures, threads, errors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pickle

from bowl import bowl
from bowl import every_sampler
from bowl import new_study
from bowl import points
from bowl import SPACE
from hypothesis import given
from hypothesis import settings
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
import pytest
from strategies import finite_distributions
from strategies import spaces

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler


# ---- the space ----


def test_the_first_trial_is_the_centre() -> None:
    study = new_study()
    study.optimize(bowl, n_trials=1)
    assert study.trials[0].params == {"x": 0.5, "n": 4, "lr": pytest.approx(1e-3)}


def test_an_inferred_space_gives_the_sequence_of_the_given_one() -> None:
    given = optuna.create_study(
        sampler=SOOSampler(search_space={name: SPACE[name] for name in sorted(SPACE)})
    )
    inferred = optuna.create_study(sampler=SOOSampler())
    for study in (given, inferred):
        study.optimize(bowl, n_trials=40)
    assert points(inferred) == points(given)


def test_a_point_at_the_centre_of_an_axis_is_asked_for_once() -> None:
    study = optuna.create_study(sampler=SOOSampler())
    study.optimize(bowl, n_trials=100)
    assert len({tuple(p.values()) for p in points(study)}) == 100


@every_sampler
def test_integers_that_no_float_holds_are_asked_for_once(make: Callable[..., BaseSampler]) -> None:
    """Optuna keeps parameters as floats: a trial has the nearest one of the point asked for."""
    study = optuna.create_study(sampler=make())
    study.optimize(lambda trial: abs(trial.suggest_int("n", 0, 10**18) / 1e18 - 0.3), n_trials=40)
    assert len({p["n"] for p in points(study)}) == 40


@every_sampler
@settings(max_examples=60)
@given(space=spaces(finite_distributions, most=3))
def test_a_finite_space_is_evaluated_whole_and_once_then_the_study_stops(
    make: Callable[..., BaseSampler], space: dict[str, BaseDistribution]
) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(space)))
    size = 1
    for distribution in space.values():
        size *= _size(distribution)

    def objective(trial: optuna.Trial) -> float:
        values = [trial._suggest(name, distribution) for name, distribution in space.items()]
        return float(sum(hash(str(value)) % 7 for value in values))

    study.optimize(objective, n_trials=size + 5)
    assert len({tuple(p.values()) for p in points(study)}) == size
    assert len(study.trials) == size or size == 1  # no relative parameter, nothing to stop on


def _size(distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return round((distribution.high - distribution.low) / (distribution.step or 1)) + 1


def test_an_exhausted_space_still_answers(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=SOOSampler(search_space={"n": IntDistribution(0, 2)}))
    sampler = study.sampler
    assert isinstance(sampler, SOOSampler)
    for _ in range(2):
        assert not sampler.is_exhausted(study)
        study.tell(study.ask({"n": IntDistribution(0, 2)}), 1.0)
    assert not sampler.is_exhausted(study)
    last = study.ask({"n": IntDistribution(0, 2)})
    assert sampler.is_exhausted(study), "the last point is being evaluated"
    study.tell(last, 1.0)
    assert sampler.is_exhausted(study)
    again = study.ask({"n": IntDistribution(0, 2)})
    assert again.params["n"] in (0, 1, 2)
    assert "evaluates a point again in trial 3" in caplog.text
    optuna.logging.disable_propagation()


def test_what_cannot_be_exhausted() -> None:
    fixed = optuna.create_study(sampler=SOOSampler())
    assert not SOOSampler().is_exhausted(fixed), "nothing is known of the space"
    endless = SOOSampler(search_space={"x": FloatDistribution(0, 1)})
    study = optuna.create_study(sampler=endless)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert not endless.is_exhausted(study)


def test_parameters_outside_the_tree_are_sampled_independently_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    optuna.logging.enable_propagation()
    study = optuna.create_study(sampler=SOOSampler(search_space={"x": SPACE["x"]}, seed=1))

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", -1, 2) + trial.suggest_float("y", 0, 1)

    study.optimize(objective, n_trials=3)
    assert len({p["y"] for p in points(study)}) == 3
    warned = {m.split(" is sampled")[0] for m in caplog.messages}
    assert warned == {f"The parameter `y` in trial {i}" for i in range(3)}
    quiet = SOOSampler(search_space={"x": SPACE["x"]}, warn_independent_sampling=False)
    caplog.clear()
    optuna.create_study(sampler=quiet).optimize(objective, n_trials=3)
    assert "independently" not in caplog.text
    optuna.logging.disable_propagation()


@pytest.mark.parametrize("n_first", [1, 5])
def test_a_sampler_serves_one_study_after_the_other(n_first: int) -> None:
    """Also where both have the same number, as all studies in memory have."""
    used, fresh = SOOSampler(), SOOSampler()
    first = optuna.create_study(sampler=used)
    first.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=n_first)
    found = []
    for sampler in (used, fresh):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 100), n_trials=5)
        found.append(points(study))
    assert found[0] == found[1]


@pytest.mark.parametrize("sampler", [SOOSampler, DIRECTSampler, BaMSOOSampler, NOMADSampler])
def test_a_study_whose_trials_have_not_ended_is_not_the_next_ones(
    sampler: Callable[..., BaseSampler],
) -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    used, found = sampler(search_space=space), []
    first = optuna.create_study(sampler=used)
    for _ in range(3):
        first.ask(space)
    for each in (used, sampler(search_space=space)):
        study = optuna.create_study(sampler=each)
        found.append([study.ask(space).params["x"] for _ in range(2)])
    assert found[0] == found[1]


def test_a_pickled_sampler_continues_a_copy_in_the_same_database(tmp_path: Path) -> None:
    url, sampler = f"sqlite:///{tmp_path}/study.db", SOOSampler()
    study = optuna.create_study(storage=url, study_name="first", sampler=sampler)
    study.optimize(bowl, n_trials=5)
    names = {"from_study_name": "first", "to_study_name": "copy"}
    optuna.copy_study(from_storage=url, to_storage=url, **names)
    pickled = pickle.loads(pickle.dumps(sampler))
    copy = optuna.load_study(storage=url, study_name="copy", sampler=pickled)
    for each in (study, copy):
        each.optimize(bowl, n_trials=5)
    assert points(copy) == points(study)


@pytest.mark.parametrize("sampler", [SOOSampler, DIRECTSampler, BaMSOOSampler, NOMADSampler])
def test_trials_that_begin_together_get_different_points(
    sampler: Callable[[], BaseSampler],
) -> None:
    """The space is still to be inferred: the first has the centre, the others none of it."""
    study = optuna.create_study(sampler=sampler())
    begun = [study.ask() for _ in range(4)]
    assert len({trial.suggest_float("x", 0, 1) for trial in reversed(begun)}) == 4


def test_what_no_trial_suggests_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "z": IntDistribution(0, 9)}
    study = optuna.create_study(sampler=SOOSampler(search_space=space))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    told = {m.split(" did not")[0] for m in caplog.messages if "did not suggest" in m}
    assert told == {"`search_space` has `z`, which trial 0"}
    optuna.logging.disable_propagation()


# ---- what people see ----


def test_a_trial_shows_its_cell_to_people_unless_told_not_to() -> None:
    study = new_study()
    study.optimize(bowl, n_trials=3)
    shown = [trial.user_attrs["partition"] for trial in study.trials]
    assert shown[0] == {"rule": "soo", "depth": 0, "cell": {"x": "0.0", "n": "0.8", "lr": "0.0"}}
    assert [s["depth"] for s in shown] == [0, 1, 1]
    quiet = optuna.create_study(sampler=SOOSampler(search_space=dict(SPACE), show_cells=False))
    quiet.optimize(bowl, n_trials=3)
    assert [trial.user_attrs for trial in quiet.trials] == [{}] * 3


# ---- threads ----


@every_sampler
def test_threads_share_a_sampler_and_no_point_is_asked_for_twice(
    make: Callable[..., BaseSampler],
) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    study.optimize(bowl, n_trials=200, n_jobs=4)
    assert len({tuple(p.values()) for p in points(study)}) == 200


@every_sampler
def test_idle_workers_get_different_points_at_once(make: Callable[..., BaseSampler]) -> None:
    study = optuna.create_study(sampler=make(search_space=dict(SPACE)))
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: study.ask(dict(SPACE)), range(64)))
    assert len({tuple(trial.params.values()) for trial in asked}) == 64


def test_bamsoo_s_workers_that_begin_together_look_everywhere() -> None:
    """Of the first four points after the centre each lies in another quarter of every axis.

    So do four of the next ones, every other one; in between SOO's sweep has its turn.
    """
    space: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(0, 1) for i in range(6)}
    study = optuna.create_study(sampler=BaMSOOSampler(search_space=space))
    asked = [[*study.ask(space).params.values()] for _ in range(13)]
    assert asked[0] == [0.5] * 6
    for cube in (asked[1:5], asked[6:13:2]):
        quarters = [[int(4 * x) for x in axis] for axis in zip(*cube, strict=True)]
        assert all(sorted(axis) == [0, 1, 2, 3] for axis in quarters)
    assert all(0.5 in point for point in asked[5:13:2])


# ---- errors ----


def test_something_that_is_no_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Optuna distributions, but got \(x=\(0, 1\)\)"):
        SOOSampler(search_space={"x": (0, 1)})  # type: ignore[dict-item]


@every_sampler
@pytest.mark.parametrize("seed", [-1, 2**32, 1.5])
def test_a_seed_that_is_none_is_refused(make: Callable[..., BaseSampler], seed: float) -> None:
    with pytest.raises(ValueError, match=rf"0 <= seed < 2\*\*32.*\(seed={seed}\)"):
        make(seed=seed)


def test_a_space_that_is_no_dictionary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be a dictionary .*\(\['x'\]\)"):
        SOOSampler(search_space=["x"])  # type: ignore[arg-type]


@every_sampler
@pytest.mark.parametrize(("low", "high", "step"), [(1e6, 1e6 + 1, 1e-3), (0.0, 1.0, 1e-12)])
def test_steps_too_fine_for_optuna_are_refused(
    make: Callable[..., BaseSampler], low: float, high: float, step: float
) -> None:
    """It would draw such a parameter at random, and the same cell be asked for again for ever."""
    fine = {"x": FloatDistribution(low, high, step=step)}
    with pytest.raises(ValueError, match=r"`step` must be larger than 2.2\d*e-08 of .*\(x=Float"):
        make(search_space=fine)
    study = optuna.create_study(sampler=make())
    with pytest.raises(ValueError, match="`step` must be larger"):
        study.optimize(lambda trial: trial.suggest_float("x", low, high, step=step), n_trials=2)
    assert len(study.trials) == 1, "before anything is evaluated"


def test_a_step_that_is_just_not_too_fine_is_searched() -> None:
    study = optuna.create_study(sampler=SOOSampler(warn_independent_sampling=False))
    study.optimize(lambda trial: trial.suggest_float("x", 1e6, 1e6 + 9, step=0.03), n_trials=60)
    asked = [trial.system_attrs["partition"]["cell"]["x"] for trial in study.trials[1:]]
    assert len(set(asked)) == 59


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=SOOSampler())
    with pytest.raises(ValueError, match="multi-objective"):
        study.ask(dict(SPACE))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: SOOSampler(independent_sampler="tpe"), "must be a sampler.*'tpe'"),  # type: ignore[arg-type]
        (lambda: DIRECTSampler(epsilon=None), "0 <= epsilon < 1.*epsilon=None.*1e-4"),  # type: ignore[arg-type]
        (lambda: DIRECTSampler(locally_biased="no"), "True or False.*'no'"),  # type: ignore[arg-type]
        (lambda: BaMSOOSampler(as_published="no"), "`as_published` must be True or False.*'no'"),  # type: ignore[arg-type]
        (lambda: SOOSampler(show_cells=3), "`show_cells` must be True or False.*3"),  # type: ignore[arg-type]
        (lambda: BaMSOOSampler(warn_independent_sampling="no"), "must be True or False.*'no'"),  # type: ignore[arg-type]
        (lambda: BaMSOOSampler(independent_sampler=0), "must be a sampler.*0"),  # type: ignore[arg-type]
        (lambda: BaMSOOSampler(eta="0.1"), "0 < eta <= 1.*'0.1'.*0.05"),  # type: ignore[arg-type]
        (lambda: SOOSampler(search_space={2: FloatDistribution(0, 1)}), "texts.*2.*use '2'"),  # type: ignore[dict-item]
    ],
)
def test_arguments_of_another_kind_are_refused(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make()
