"""Which checkpoint files are whose, by name, and when they go; imports no torch.

runs/NAME/checkpoints/0a1b2c3d4e5f6071-4.checkpoint     these hyperparameters, micro-batch 4
runs/NAME/checkpoints/0a1b2c3d4e5f6071-4c.checkpoint    the same with gradient checkpointing
"""

from __future__ import annotations

from dataclasses import replace
import hashlib
from pathlib import Path
import shutil

from objectives.job import Job
from objectives.settings.search.space import Hyperparameters


__all__ = ["checkpoint_file", "delete", "delete_all", "stem", "to_go_on_with"]

FOLDER = "checkpoints"
_COMPUTED_TWICE = "c"  # the activations; files of before do not say it


def stem(study: Path, chosen: Hyperparameters) -> str:
    """What the files of these hyperparameters begin with, in the folder of a study."""
    return str(study / FOLDER / hashlib.sha256(_named(chosen).encode()).hexdigest()[:16])


def _named(chosen: Hyperparameters) -> str:
    """As files are named since before there were others than these: a study may hold some."""
    first = ("targets", "rslora", "dora")
    told = {n: v for n, v in vars(chosen).items() if v is not None or n in first}
    return f"Hyperparameters({', '.join(f'{name}={value!r}' for name, value in told.items())})"


def checkpoint_file(stem: str, micro_batch: int, *, checkpointing: bool = False) -> Path:
    """The one file of a training: dropout masks and roundings depend on the micro-batch.

    Gradient checkpointing changes no bit. The name tells of it for who goes on with the training.
    """
    return Path(f"{stem}-{micro_batch}{_COMPUTED_TWICE if checkpointing else ''}.checkpoint")


def to_go_on_with(job: Job) -> Job:
    """As it was last tried, if it was begun before: what was tried earlier did not fit."""
    files = [] if job.checkpoint_stem is None else _files(job.checkpoint_stem)
    if not files:
        return job
    checkpointing, smaller = max(map(_attempt, files))
    job = replace(job, micro_batch=-smaller)
    fell_back = checkpointing and job.gradient_checkpointing == "auto"
    return replace(job, gradient_checkpointing=True) if fell_back else job


def _attempt(file: Path) -> tuple[bool, int]:
    """A later one is greater: see `objectives.job.until_it_fits`."""
    tried = file.stem.rpartition("-")[2]
    return tried.endswith(_COMPUTED_TWICE), -int(tried.removesuffix(_COMPUTED_TWICE))


def delete(stem: str) -> None:
    """The files of these hyperparameters, whatever their micro-batch."""
    for file in _files(stem):
        file.unlink(missing_ok=True)


def delete_all(study: Path) -> None:
    """All files of a study."""
    shutil.rmtree(study / FOLDER, ignore_errors=True)


def _files(stem: str) -> list[Path]:
    folder, name = Path(stem).parent, Path(stem).name
    return list(folder.glob(f"{name}-*.checkpoint"))
