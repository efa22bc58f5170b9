"""Which checkpoint files are whose, by name, and when they go; imports no torch.

runs/NAME/checkpoints/0a1b2c3d4e5f6071-4.checkpoint     these hyperparameters, micro-batch 4
"""

from __future__ import annotations

import hashlib
from pathlib import Path
import shutil

from objectives.settings.search.space import Hyperparameters


__all__ = ["checkpoint_file", "delete", "delete_all", "micro_batches", "stem"]

FOLDER = "checkpoints"


def stem(study: Path, chosen: Hyperparameters) -> str:
    """What the files of these hyperparameters begin with, in the folder of a study."""
    return str(study / FOLDER / hashlib.sha256(_named(chosen).encode()).hexdigest()[:16])


def _named(chosen: Hyperparameters) -> str:
    """As files are named since before there were others than these: a study may hold some."""
    first = ("targets", "rslora", "dora")
    told = {n: v for n, v in vars(chosen).items() if v is not None or n in first}
    return f"Hyperparameters({', '.join(f'{name}={value!r}' for name, value in told.items())})"


def checkpoint_file(stem: str, micro_batch: int) -> Path:
    """The one file of a training: dropout masks and roundings depend on the micro-batch."""
    return Path(f"{stem}-{micro_batch}.checkpoint")


def micro_batches(stem: str) -> list[int]:
    """Of the files that there are, rising."""
    return sorted(int(file.stem.rpartition("-")[2]) for file in _files(stem))


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
