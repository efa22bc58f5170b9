"""A trial's losses to one of Accelerate's trackers: TensorBoard, Trackio or Weights & Biases.

    [study]
    tracker = "tensorboard"

One run per trial in a project of the study's name; TensorBoard's files go to the study's folder,
into `tracking`.
"""

from __future__ import annotations

from collections.abc import Callable
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


__all__ = ["check_tracker", "tracked"]

Send = Callable[[Validation, Sequence[float]], None]
"""Takes a validation and the training losses of all steps, at least up to there: it sends the
validation loss, and the mean training loss since the one before."""


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


@contextmanager
def tracked(name: str | None, job: Job, *, main: bool) -> Iterator[Send]:
    """The run of a job, and where each of its validations goes.

    Args:
        name: Of the tracker; None sends nothing.
        job: Its adapter is in the study's folder; one of no trial is not sent.
        main: Whether this is the rank that speaks for all.
    """
    if name is None or job.trial is None or not main:
        yield lambda validation, losses: None
        return
    tracker, sent = _tracker(name, Path(job.adapter).parents[1], f"trial-{job.trial:04d}"), 0

    def send(validation: Validation, losses: Sequence[float]) -> None:
        nonlocal sent
        since, sent = losses[sent : validation.step], validation.step
        values = {"validation_loss": validation.loss, "training_loss": sum(since) / len(since)}
        tracker.log(values, step=validation.step)

    tracker.start()
    try:
        chosen = {k: v for k, v in asdict(job.chosen).items() if v is not None}
        tracker.store_init_configuration(chosen)
        yield send
    finally:
        tracker.finish()


def _tracker(name: str, study: Path, run: str) -> Any:
    from accelerate import tracking

    if name == "tensorboard":
        return tracking.TensorBoardTracker(run, logging_dir=study / "tracking")
    if name == "trackio":
        return tracking.TrackioTracker(study.name, name=run)
    return tracking.WandBTracker(study.name, name=run, dir=str(study))
