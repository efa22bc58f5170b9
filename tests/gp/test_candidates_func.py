"""`candidates_func`: called as BoTorchSampler calls it, and what it returns is looked at."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
import pytest
import torch

from optuna_partition import BaMSOOSampler


def test_a_user_s_candidates_func_is_called_as_botorchsampler_calls_it() -> None:
    calls: list[tuple[Any, ...]] = []

    def candidates(
        train_x: torch.Tensor,
        train_obj: torch.Tensor,
        train_con: torch.Tensor | None,
        bounds: torch.Tensor,
        pending_x: torch.Tensor | None,
    ) -> torch.Tensor:
        calls.append((train_x.shape, train_obj.shape, train_con, bounds.shape, pending_x))
        assert train_obj.argmax() == ((train_x - 0.4) ** 2).sum(-1).argmin()  # maximised
        return bounds.mean(0) * 0.9

    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    sampler = BaMSOOSampler(candidates_func=candidates, search_space=dict(space))
    study = optuna.create_study(sampler=sampler)
    study.optimize(
        lambda t: sum((t.suggest_float(name, 0, 1) - 0.4) ** 2 for name in space), n_trials=7
    )
    assert calls[0] == ((5, 2), (5, 1), None, (2, 2), None)
    assert study.trials[5].params == pytest.approx({"a": 0.45, "b": 0.45}, abs=1e-6)


def searched_by(candidates: Callable[..., torch.Tensor]) -> optuna.Study:
    study = optuna.create_study(sampler=BaMSOOSampler(candidates_func=candidates))
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_int("n", 0, 9), n_trials=7)
    return study


@pytest.mark.parametrize(("place", "x", "n"), [(-0.6, 0.0, 0), (1.7, 1.0, 9)])
def test_a_candidate_outside_the_bounds_is_drawn_in(place: float, x: float, n: int) -> None:
    params = searched_by(lambda *_: torch.tensor([place, place])).trials[5].params
    assert params == {"x": pytest.approx(x, abs=1e-6), "n": n}


@pytest.mark.parametrize("returned", [torch.tensor([0.5]), torch.tensor([[0.5, math.nan]])])
def test_a_candidate_that_is_no_point_is_refused(returned: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"must return a tensor of 2 finite .* got \(tensor"):
        searched_by(lambda *_: returned)


def test_a_candidate_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must return a tensor of 2 finite .* got \(None\)"):
        searched_by(lambda *_: None)  # type: ignore[arg-type, return-value]


def test_an_error_of_a_candidates_func_is_the_user_s_to_see() -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise ValueError("not mine")

    with pytest.raises(ValueError, match="not mine"):
        searched_by(broken)
