"""A trial's losses to one of Accelerate's trackers: TensorBoard, Trackio or Weights & Biases.

    [study]
    tracker = "tensorboard"

One run per trial in a project of the study's name; TensorBoard's files go to the study's folder,
into `tracking`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from objectives.errors import UserError
from objectives.job import Job
from objectives.job import Validation


__all__ = ["Losses", "check_tracker", "tracked"]


def check_tracker(name: str | None) -> None:
    """Before anything is loaded.

    Raises:
        UserError: The tracker is not installed.
    """
    if name is not None and find_spec(name) is None:
        raise UserError(
            f'`[study] tracker` = "{name}": is not installed; pip install {name}, '
            "or leave tracker out"
        )


class Losses:
    """Where a trial's losses go."""

    def __init__(self, tracker: Any = None) -> None:
        """`tracker` is Accelerate's; without one the losses go nowhere."""
        self._tracker, self._sent = tracker, 0

    def validated(self, validation: Validation, losses: Sequence[float]) -> None:
        """Sends a validation loss, and the mean training loss since the one before.

        Args:
            validation: The validation.
            losses: Training loss of every step, at least up to there.
        """
        if self._tracker is None:
            return
        since = losses[self._sent : validation.step]
        self._sent = validation.step
        values = {"validation_loss": validation.loss, "training_loss": sum(since) / len(since)}
        self._tracker.log(values, step=validation.step)


@contextmanager
def tracked(name: str | None, job: Job, *, main: bool) -> Iterator[Losses]:
    """The run of a job.

    Args:
        name: Of the tracker; None sends nothing.
        job: Its adapter is in the study's folder; one of no trial is not sent.
        main: Whether this is the rank that speaks for all.
    """
    if name is None or job.trial is None or not main:
        yield Losses()
        return
    tracker = _tracker(name, Path(job.adapter).parents[1], f"trial-{job.trial:04d}")
    tracker.start()
    try:
        chosen = {k: v for k, v in asdict(job.chosen).items() if v is not None}
        tracker.store_init_configuration(chosen)
        yield Losses(tracker)
    finally:
        tracker.finish()


def _tracker(name: str, study: Path, run: str) -> Any:
    from accelerate import tracking

    if name == "tensorboard":
        return tracking.TensorBoardTracker(run, logging_dir=study / "tracking")
    if name == "trackio":
        return tracking.TrackioTracker(study.name, name=run)
    return tracking.WandBTracker(study.name, name=run, dir=str(study))
