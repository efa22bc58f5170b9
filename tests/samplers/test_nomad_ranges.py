"""NOMADSampler's variables: narrow and wide ranges, large integers, and what is refused."""

from __future__ import annotations

from importlib.util import find_spec
import math

from hypothesis import given
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from plain_nomad import places
from plain_nomad import plain
import pytest
from strategies import distributions

from optuna_partition import NOMADSampler
from optuna_partition._nomad.variables import variable


pytestmark = pytest.mark.skipif(find_spec("PyNomad") is None, reason="needs PyNomadBBO")

Space = dict[str, BaseDistribution]

EXTREMES = [
    FloatDistribution(0, 1e-14),
    FloatDistribution(0, 1e-300),
    FloatDistribution(-8e307, 8e307),
    FloatDistribution(1e308, 1.7e308),
    FloatDistribution(1, 1 + 1e-12),
    FloatDistribution(1e-300, 1.0000001e-300, log=True),
    FloatDistribution(1e-310, 1e300, log=True),
]


@pytest.mark.parametrize("x", EXTREMES, ids=str)
@pytest.mark.parametrize("alone", [True, False])
def test_nomad_searches_the_narrowest_and_the_widest_ranges(
    x: BaseDistribution, alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes 1e-13 for 0, and its process died where a range was narrower."""
    optuna.logging.enable_propagation()
    space: Space = {"x": x} if alone else {"x": x, "y": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(space)))
    first = study.ask(dict(space))
    study.tell(first, 1.0)
    for number in range(1, 9):
        trial = study.ask(dict(space))
        study.tell(trial, 1.0 + number)
    assert len({tuple(place) for place in places(study)}) == 9
    assert "leaves trial" not in caplog.text


def test_a_narrow_range_is_searched_as_the_unit_interval_is() -> None:
    space: Space = {"x": FloatDistribution(0, 2.0**-50)}
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(space)))
    value = "(x[0] - 0.3) ** 2"
    study.optimize(lambda t: eval(value, {"x": [t.suggest_float("x", 0, 2.0**-50) * 2**50]}), 20)
    assert [[x * 2**50] for (x,) in places(study)] == plain(value, [0.5], [0], [1], "R")[:20]


def test_large_integers_are_told_apart() -> None:
    space: Space = {"n": IntDistribution(2**53 - 1000, 2**53)}
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(space)))
    study.optimize(lambda t: abs(t.suggest_int("n", 2**53 - 1000, 2**53) - 2**53 + 300), 25)
    value = "abs(x[0] - 700)"
    theirs = plain(value, [500], [0], [1000], "I", evaluations=25)
    assert [[n - 2**53 + 1000] for (n,) in places(study)] == theirs


def test_neighbouring_floats_whose_logarithms_are_the_same_are_a_range() -> None:
    space: Space = {"x": FloatDistribution(1e-10, math.nextafter(1e-10, 1), log=True)}
    study = optuna.create_study(sampler=NOMADSampler(search_space=dict(space)))
    for _ in range(3):
        study.tell(study.ask(dict(space)), 0.0)


@given(distribution=distributions | st.sampled_from(EXTREMES), share=st.floats(0, 1))
def test_a_variables_values_lie_in_the_distribution_and_come_back(
    distribution: BaseDistribution, share: float
) -> None:
    found = variable(distribution)
    x = found.low + share * (found.high - found.low)
    x = min(max(float(round(x)) if found.kind == "I" else x, found.low), found.high)
    value = found.value(x)
    assert distribution._contains(distribution.to_internal_repr(value))
    assert type(value) in (int, float, str)
    again = found.value(found.coordinate(value))
    assert again == pytest.approx(value, rel=1e-9) if isinstance(value, float) else again == value


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"seed < 2.*seed=-1"):
        NOMADSampler(seed=-1)
    with pytest.raises(ValueError, match="FloatDistribution"):
        NOMADSampler(search_space={"x": (0, 1)})  # type: ignore[dict-item]


def test_without_pynomad_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("optuna_partition._nomad.sampler.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "optuna-partition\[nomad\]"'):
        NOMADSampler()


def test_integers_beyond_floats_are_refused() -> None:
    study = optuna.create_study(sampler=NOMADSampler())
    with pytest.raises(ValueError, match=r"`high <= 2\*\*53` must hold, but got .*SOOSampler"):
        study.optimize(lambda trial: trial.suggest_int("n", 0, 2**63 - 1), n_trials=2)
