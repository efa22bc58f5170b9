"""Forecasts of curves: against the joint normal they come from, and as often right as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from optuna_partition._rules.curves import _Kind
from optuna_partition._rules.curves import _Regression
from optuna_partition._rules.curves import _Scale
from optuna_partition._rules.curves import Curve
from optuna_partition._rules.curves import Curves
from optuna_partition._rules.curves import Forecasts


STEPS = np.arange(1.0, 9.0)


def falling(rng: np.random.Generator, n: int) -> list[Curve]:
    """Curves that fall to where their parameters say, some from farther up, with noise."""
    x = rng.random((n, 2))
    end, start = 1 + 4 * (x[:, 0] - 0.3) ** 2, 1 + 3 * x[:, 1]
    values = end[:, None] + start[:, None] * np.exp(-STEPS / 2)
    values += 0.01 * rng.standard_normal(values.shape)
    return [Curve(at, STEPS, row, float(row[-1])) for at, row in zip(x, values, strict=True)]


def stopped(curve: Curve, step: int) -> Curve:
    return Curve(curve.x, curve.steps[:step], curve.values[:step])


def end(known: Curves | None, curve: Curve) -> Forecasts:
    assert known is not None
    return known.ends([curve])


@pytest.mark.parametrize("kind", [_Kind(1.0, 1.0), _Kind(0.3, 0.5), _Kind(0.05, 1.5)])
def test_a_regression_is_the_joint_normal_conditioned_on_what_is_known(kind: _Kind) -> None:
    rng = np.random.default_rng(0)
    x, before, now = rng.random((9, 2)), rng.normal(2, 0.3, 9), rng.normal(1, 0.3, 9)
    then = now - 0.2 + 0.1 * rng.standard_normal(9)
    found = _Regression.of(kind, x[:-2], before[:-2], now[:-2], then[:-2])
    state = np.stack([now[-2:], (before - now)[-2:]])
    mean, doubt = found.ahead(x[-2:], state, np.zeros((2, 2, 2, 2)))

    prior = (0.1 * then[:-2].std()) ** 2
    told = np.column_stack([np.ones(9), now - found.centre[0], before - now - found.centre[1]])
    slopes = np.diag([1e6, 0.3**2 / prior, 0.3**2 / prior])  # covariances, per variance
    joint = told @ slopes @ told.T + kind.correlation(x, x) + kind.own(9)
    gain = joint[-2:, :-2] @ np.linalg.inv(joint[:-2, :-2])
    assert mean[0] - now[-2:] == pytest.approx(gain @ (then - now)[:-2], rel=1e-4, abs=1e-6)
    left = joint[-2:, -2:] - gain @ joint[:-2, -2:]
    # Here differences of millions are taken, of numbers with sixteen digits, by a matrix as bad.
    assert doubt[0, 0] / found.variance == pytest.approx(left, abs=1e-3)
    assert doubt[1, 1] == pytest.approx(doubt[0, 0])
    assert doubt[0, 1] == pytest.approx(-doubt[0, 0])


@pytest.mark.parametrize("step", [1, 2, 4, 7])
def test_bounds_hold_as_often_as_they_say(step: int) -> None:
    rng = np.random.default_rng(1)
    below = []
    for _ in range(40):
        curves = falling(rng, 30)
        known = Curves.of(curves[:20])
        below += [end(known, stopped(c, step)).chance_below(c.values[-1]) for c in curves[20:]]
    n = len(below)
    for share in (0.05, 0.5, 0.95):
        found = sum(chance <= share for chance in below)
        # The ends of ten curves of one study err together: as if every fifth were alone.
        spread = 3 * math.sqrt(5 * n * share * (1 - share))
        assert abs(found - share * n) < spread, (share, found / n)


def test_a_later_report_says_more_than_an_earlier_one() -> None:
    curves = falling(np.random.default_rng(2), 30)
    known = Curves.of(curves[:20])
    doubts = [
        np.mean([end(known, stopped(c, step)).doubt[0, 0] for c in curves[20:]])
        for step in (1, 2, 4, 6)
    ]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[-1] < doubts[0] / 4


def test_stopped_curves_teach_what_they_have_seen() -> None:
    curves = falling(np.random.default_rng(3), 60)
    whole, others = curves[:5], [stopped(curve, 3) for curve in curves[5:40]]
    few, many = Curves.of(whole), Curves.of([*whole, *others])
    assert few is not None and many is not None
    third = [
        [float(np.diag(k.ends([stopped(c, 1) for c in curves[40:]]).doubt).mean())]
        for k in (few, many)
    ]
    assert third[1] < third[0]


def test_curves_of_like_parameters_err_alike() -> None:
    curves = falling(np.random.default_rng(4), 21)
    known = Curves.of(curves[:6])
    assert known is not None
    here, far = curves[20].x, 1 - np.round(curves[20].x)
    near = here + 1e-3
    twins = [Curve(x, STEPS[:1], curves[20].values[:1]) for x in (here, near, far)]
    doubt = known.ends(twins).doubt
    scale = np.sqrt(np.diag(doubt))
    correlation = doubt / scale / scale[:, None]
    assert correlation[0, 1] > 0.2 > abs(correlation[0, 2])


def test_all_at_once_is_one_by_one() -> None:
    curves = falling(np.random.default_rng(5), 20)
    known = Curves.of(curves[:12])
    assert known is not None
    asked = [stopped(curve, 1 + i % 7) for i, curve in enumerate(curves[12:])]
    together = known.ends(asked)
    for i, curve in enumerate(asked):
        alone = known.ends([curve])
        assert together.levels[i] == pytest.approx(alone.levels[0])
        assert together.doubt[i, i] == pytest.approx(alone.doubt[0, 0])


def test_the_chance_is_students() -> None:
    curves = falling(np.random.default_rng(6), 12)
    found = end(Curves.of(curves[:8]), stopped(curves[9], 3))
    for value in (0.9, 1.2, 1.5, 2.0):
        t = (found.scale.level(np.array(value)) - found.levels[0]) / math.sqrt(found.doubt[0, 0])
        # Abramowitz and Stegun's approximation is good to a hundredth from three degrees on.
        assert found.chance_below(value) == pytest.approx(stats.t.cdf(t, found.freedom), abs=0.01)


def test_a_forecast_in_doubt_is_drawn_in_before_its_deviation_is_taken() -> None:
    """Were it drawn in as a value, one of 9 with an error of 9 would be the best of all."""
    scale = _Scale(1.2, 0.3)
    levels, deviations = np.array([0.2, 0.5, 0.0, 3.0]), np.array([0.01, 0.3, 2.0, 3.0])
    shape = np.array([[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = Forecasts(levels, shape * deviations * deviations[:, None], 9.0, scale)
    told = levels + deviations * np.random.default_rng(0).standard_normal((400_000, 4))
    told = np.minimum(scale.value(told), 1.9)
    middle, deviation = found.drawn_in(1.9)
    assert middle == pytest.approx(np.median(told, axis=0), abs=1e-2)
    # 64 quantiles lack what is beyond 2.4 deviations.
    assert deviation == pytest.approx(told.std(axis=0), rel=2e-2)
    assert found.correlation == pytest.approx(shape)


def known_with(*strays: Curve, n: int) -> tuple[Curves, float]:
    """What n curves and some others teach, and the best end."""
    curves = falling(np.random.default_rng(7), n)
    known = Curves.of([*curves, *strays])
    assert known is not None
    return known, min(curve.values[-1] for curve in curves)


@pytest.mark.parametrize("n", [12, 20, 60])
@pytest.mark.parametrize("value", [9.0, 1e6, 1e100])
@pytest.mark.parametrize("came", [3, 8, None])
def test_one_curve_that_diverges_puts_no_other_in_doubt(
    n: int, value: float, came: int | None
) -> None:
    """Whether it was stopped there, came to its end, or has only ended with such a value."""
    usual = falling(np.random.default_rng(8), 1)[0]
    values = np.where(STEPS == came, value, usual.values)[:came]
    stray = Curve(usual.x, STEPS[:came], values, value if came != 3 else None)
    bad = Curve(np.array([0.9, 0.5]), STEPS[:2], 1 + 4 * 0.6**2 + 1.5 * np.exp(-STEPS[:2] / 2))
    clean, best = known_with(n=n)
    known, _ = known_with(stray, n=n)
    assert clean.ends([bad]).chance_below(best) < 0.01
    assert known.ends([bad]).chance_below(best) < 0.02
    # and is itself as good as the worst
    middle, deviations = known.ends([Curve(usual.x, STEPS[:1], np.array([value]))]).drawn_in(3.0)
    assert middle[0] - deviations[0] > best


def test_curves_that_come_back_keep_a_spike_from_being_the_end() -> None:
    rng = np.random.default_rng(9)
    spiky = [
        Curve(c.x, STEPS, c.values + 3.0 * (STEPS == 3) * (i % 5 == 0), c.end)
        for i, c in enumerate(falling(rng, 40))
    ]
    good = min(falling(rng, 20), key=lambda c: c.values[-1])
    known, best = Curves.of(spiky), min(c.values[-1] for c in spiky)
    at_spike = Curve(good.x, STEPS[:3], good.values[:3] + 3.0 * (STEPS[:3] == 3))
    assert end(known, at_spike).chance_below(best + 0.1) > 0.05


def curve(*reports: tuple[float, float], end: float | None = None, x: float = 0.5) -> Curve:
    steps, values = np.array(reports).T
    return Curve(np.array([x]), steps, values, end)


@pytest.mark.parametrize(
    "curves",
    [
        [curve((1, 2.0), end=1.0)],
        [curve((1, 1.0), end=1.0), curve((1, 1.0), end=1.0)],
        [curve((1, 2.0), (5, 1.0), end=1.0), curve((2, 3.0), (3, 2.0), end=2.0)],
        [curve((1, 2.0), (2, 1e100), end=1.0), curve((1, 2.0), (2, 1.0), end=-1e100)],
        [curve((1, 1.0), (2, 2.0), (3, 4.0), end=4.0), curve((1, 4.0), (2, 1.0), end=0.0)],
        [curve((0, 2.0), (1e9, 1.0), end=1.0, x=0.0), curve((7, 3.0))],
        [curve((8, 2.0), end=1.0), curve((9, 2.0), end=1.5), curve((2, 3.0))],
        [curve((1, i / 9), (2, (-1) ** i * 1e100), end=i / 9) for i in range(9)],
        [curve(*((float(i), 1 / (i + 1)) for i in range(200)), end=0.0) for _ in range(3)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_people_report_has_a_forecast(curves: list[Curve]) -> None:
    for asked in (curve((1, 2.0)), curve((3, 1.5), (4, 1.0)), curve((1e12, 0.0))):
        found = end(Curves.of([*curves, asked]), asked)
        assert np.isfinite(found.levels).all() and found.doubt[0, 0] > 0
        assert 0 <= found.chance_below(0.5) <= 1
        least, most = found.scale.best - found.scale.unit, found.scale.best + found.scale.unit
        middle, deviation = found.drawn_in(most)
        assert least <= middle[0] <= most and 0 <= deviation[0] <= most - least


@pytest.mark.filterwarnings("error")
def test_a_step_that_only_one_of_many_curves_has_is_a_step() -> None:
    """Of so many the regressions learn from some."""
    whole = [curve((2, 2.0 + i), (3, 1.5 + i), (4, 1.0 + i), end=1.0 + i) for i in range(150)]
    early = curve((1, 90.0))
    found = end(Curves.of([*whole[:102], early, *whole[102:]]), early)
    assert np.isfinite(found.levels).all() and np.isfinite(found.doubt).all()


def test_without_an_end_there_is_nothing_to_learn() -> None:
    assert Curves.of([curve((1, 2.0)), curve((1, 3.0))]) is None
    assert Curves.of([]) is None
