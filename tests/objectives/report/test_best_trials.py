"""Which trials are the best: by value or in an order that is handed in; whose adapters stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from objectives.report.given import Belief
from objectives.result.adapters import best_trials
from objectives.result.adapters import keep_best_adapters
from objectives.result.adapters import SPARE
from objectives.result.adapters import WEIGHTS
from objectives.tune import answer


AXIS = FloatDistribution(0, 1)


def study_of(values: list[float], folder: Path, direction: str = "minimize") -> optuna.Study:
    """Trials at places of their own, each with an adapter."""
    study = optuna.create_study(direction=direction)
    for i, value in enumerate(values):
        study.add_trial(trained(value, i / len(values), folder / f"{i:04}"))
    return study


def trained(value: float, x: float, adapter: Path) -> FrozenTrial:
    adapter.mkdir(parents=True)
    (adapter / WEIGHTS).write_bytes(b"")
    attributes = {"adapter": str(adapter)}
    return create_trial(
        value=value, params={"x": x}, distributions={"x": AXIS}, user_attrs=attributes
    )


def numbers(study: optuna.Study, count: int, order: tuple[int, ...] = ()) -> list[int]:
    return [trial.number for trial in best_trials(study, count, order)]


def test_an_order_comes_before_the_values(tmp_path: Path) -> None:
    study = study_of([3.0, 1.0, 2.0, 4.0], tmp_path)
    assert numbers(study, 9) == [1, 2, 0, 3]
    assert numbers(study, 3, (3, 2)) == [3, 2, 1]
    (tmp_path / "0003" / WEIGHTS).unlink()
    assert numbers(study, 2, (3, 2)) == [2, 1]
    high = study_of([3.0, 1.0, 2.0, 4.0], tmp_path / "high", "maximize")
    assert numbers(high, 9, (1,)) == [1, 3, 0, 2]


def test_more_adapters_stay_than_are_scored(tmp_path: Path) -> None:
    study = study_of([float(i % 5) for i in range(10)], tmp_path)
    prune = keep_best_adapters(2)
    prune(study, study.trials[-1])
    kept = sorted(int(folder.name) for folder in tmp_path.iterdir())
    assert len(kept) == 2 * SPARE
    assert kept == sorted(numbers(study, 9))
    assert kept == [0, 1, 2, 5, 6, 7]


def test_the_adapter_of_a_trial_that_ends_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker completes it right after each look at the study."""
    study = study_of([float(i) for i in range(6)], tmp_path)
    last, look = study.trials[-1], study.get_trials

    def look_and_go_on(**more: Any) -> list[FrozenTrial]:
        found = look(**more)
        number = len(look())
        study.add_trial(trained(-float(number), 0.5, tmp_path / f"{number:04}"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(study, "get_trials", look_and_go_on)
        keep_best_adapters(1)(study, last)
    gone = [t.number for t in study.trials if not Path(t.user_attrs["adapter"]).exists()]
    assert len(study.trials) > 6 and gone == [3, 4, 5]


def test_what_is_believed_of_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of([(i / 12 - 0.4) ** 2 for i in range(12)], tmp_path)
    study.add_trial(create_trial(state=TrialState.PRUNED, params={}, distributions={}))
    found = answer.believed(study)
    assert found[0].trial == study.best_trial.number
    assert sorted(belief.trial for belief in found) == list(range(10)), "two are far from the best"
    assert all(isinstance(belief, Belief) and belief.low <= belief.high for belief in found)
    few = study_of([1.0, 2.0], tmp_path / "few")
    assert answer.believed(few) == []

    def lacking(_: optuna.Study) -> None:
        raise ImportError("no BoTorch")

    monkeypatch.setattr(answer, "ranked_trials", lacking)
    assert answer.believed(study) == []
