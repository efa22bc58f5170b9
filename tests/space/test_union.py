"""The cube of all parameters: of branches, of ranges that change, of what was enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial
import pytest

from optuna_partition._core.axes import Continuous
from optuna_partition._core.axes import Grid
from optuna_partition._core.axes import LogGrid
from optuna_partition._space.union import Union


def trial(**params: tuple[Any, BaseDistribution]) -> FrozenTrial:
    return optuna.trial.create_trial(
        params={name: value for name, (value, _) in params.items()},
        distributions={name: distribution for name, (_, distribution) in params.items()},
        value=0.0,
    )


def outside(params: Mapping[str, Any], **distributions: BaseDistribution) -> FrozenTrial:
    """A trial enqueued with values that no distribution has, which Optuna takes with a warning."""
    study = optuna.create_study()
    study.enqueue_trial(dict(params))
    with pytest.warns(UserWarning):
        asked = study.ask(distributions)
    study.tell(asked, 0.0)
    return study.trials[0]


def test_axes_are_those_of_the_distributions() -> None:
    space = {
        "a": FloatDistribution(0, 4),
        "b": FloatDistribution(1, 100, log=True),
        "c": IntDistribution(2, 8, step=2),
        "d": IntDistribution(1, 64, log=True),
        "e": CategoricalDistribution(["x", "y"]),
    }
    low = trial(**{n: (v, space[n]) for n, v in zip(space, (0.0, 1.0, 2, 1, "x"), strict=True)})
    high = trial(**{n: (v, space[n]) for n, v in zip(space, (3.0, 10.0, 8, 64, "y"), strict=True)})
    union = Union.of([low, high])
    assert isinstance(union.axes[0], Continuous)
    assert union.axes[2:] == (Grid(4), LogGrid(1, 64), Grid(2, ordered=False))
    assert union.units[0][:3] == pytest.approx((0, 0, 0.125))
    assert union.units[1][:3] == pytest.approx((0.75, 0.5, 0.875))


def test_what_is_the_same_in_all_trials_is_no_axis() -> None:
    x, one = FloatDistribution(0, 1), CategoricalDistribution([7])
    same = trial(x=(0.5, x), y=(0.1, x), z=(7, one))
    assert Union.of([same, same]).axes == ()


def test_a_parameter_that_is_lacking_is_in_the_middle_or_a_category_of_its_own() -> None:
    x, kind = FloatDistribution(0, 4), CategoricalDistribution(["a", "b", "c"])
    union = Union.of([trial(x=(1.0, x)), trial(kind=("b", kind)), trial(kind=("c", kind))])
    assert union.axes[0] == Grid(4, ordered=False)
    assert [row[0] for row in union.units] == [0.875, 0.375, 0.625]
    assert [row[1] for row in union.units] == [0.25, 0.5, 0.5]


def test_the_widest_of_several_ranges() -> None:
    union = Union.of(
        [
            trial(x=(1.0, FloatDistribution(0, 1)), n=(3, IntDistribution(2, 3))),
            trial(x=(3.0, FloatDistribution(-1, 3)), n=(9, IntDistribution(3, 9, step=3))),
            trial(x=(3.0, FloatDistribution(-1, 3, step=0.5)), n=(2, IntDistribution(2, 3))),
        ]
    )
    assert union.axes[0] == Grid(8)
    assert [row[0] for row in union.units] == [1.5 / 8, 7.5 / 8, 0.5 / 8]
    assert [row[1] for row in union.units] == [0.5, 1, 1]


def test_choices_that_change_are_all_choices_once() -> None:
    old, new = CategoricalDistribution(["a", "b"]), CategoricalDistribution(["b", "c"])
    union = Union.of([trial(k=("b", old)), trial(k=("b", new)), trial(k=("c", new))])
    assert union.axes == (Grid(3, ordered=False),)
    assert len({row for row in union.units}) == 2
    assert union.units[0] == union.units[1]


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution should be")
def test_choices_may_be_lists() -> None:
    old, new = CategoricalDistribution([[1], [2]]), CategoricalDistribution([[2], [3, 4]])
    union = Union.of([trial(k=([1], old)), trial(k=([2], old)), trial(k=([3, 4], new))])
    assert union.axes == (Grid(3, ordered=False),)
    assert len(set(union.units)) == 3


def test_a_parameter_of_two_kinds_is_left_out() -> None:
    x = FloatDistribution(0, 1)
    union = Union.of(
        [
            trial(x=(0.25, x), k=(1, IntDistribution(0, 3))),
            trial(x=(0.75, x), k=(1.0, FloatDistribution(0, 3))),
            trial(x=(0.75, x), k=("a", CategoricalDistribution(["a", "b"]))),
        ]
    )
    assert union.units == ((0.25,), (0.75,), (0.75,))


def test_a_range_that_no_axis_has_is_left_out() -> None:
    x, vast = FloatDistribution(0, 1), FloatDistribution(-1.7e308, 1.7e308)
    union = Union.of([trial(x=(0.25, x), y=(1.0, vast)), trial(x=(0.75, x), y=(2.0, vast))])
    assert union.units == ((0.25,), (0.75,))


def test_an_axis_has_what_was_enqueued_beside_its_range() -> None:
    x, rate = FloatDistribution(0, 1), FloatDistribution(1, 10, log=True)
    beside = outside({"x": 3.0, "rate": 100.0}, x=x, rate=rate)
    union = Union.of([trial(x=(0.75, x), rate=(1.0, rate)), beside])
    assert [row[0] for row in union.units] == [0, 1]
    assert [row[1] for row in union.units] == pytest.approx([0.25, 1])
