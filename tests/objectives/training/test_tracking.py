"""Trackers: what TensorBoard itself reads back, and what is said where one is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from trainings import experiment

from objectives.errors import UserError
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.training.runner import Runner
from objectives.training.tracking import check_tracker


__all__ = ["experiment"]  # a fixture

CHOSEN = Hyperparameters(5e-3, 0.0, 4, 8, 0.2, 12, dora=False)


def tracked(experiment: Experiment) -> Experiment:
    study = experiment.study.model_copy(update={"tracker": "tensorboard"})
    return experiment.model_copy(update={"study": study})


def job(folder: Path, number: int) -> Job:
    return Job(number, CHOSEN, str(folder / "adapters" / f"{number:04d}"), 6, 8)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """By TensorBoard's own reader."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_has_the_losses_of_each_trial(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="pip install tensorboard to test trackers")
    reported: list[Validation] = []

    def report(validation: Validation) -> bool:
        reported.append(validation)
        return len(reported) == 3  # the second trial is pruned at its first report

    runner = Runner(tracked(experiment), bench, None)
    first = runner(job(tmp_path, 0), report)
    runner(job(tmp_path, 1), report)
    assert isinstance(first, Finished)
    expected = [(v.step, pytest.approx(v.loss)) for v in reported]
    folder = tmp_path / "tracking"
    assert scalars(folder / "trial-0000", "validation_loss") == expected[:2]
    assert scalars(folder / "trial-0001", "validation_loss") == expected[2:]
    steps, losses = zip(*scalars(folder / "trial-0000", "training_loss"), strict=True)
    assert steps == (2, 4) and losses[1] < losses[0] < 7
    plain = Runner(experiment, bench, None)(job(tmp_path, 2), lambda _: False)
    assert isinstance(plain, Finished) and plain.value == first.value
    assert not (folder / "trial-0002").exists()


def test_a_tracker_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracker(None)
    monkeypatch.setattr("objectives.training.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match='"wandb": is not installed; pip install wandb'):
        check_tracker("wandb")
