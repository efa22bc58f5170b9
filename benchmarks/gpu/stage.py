"""What a part is given, and how it says that it cannot be played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


__all__ = ["Skipped", "Stage"]


class Skipped(Exception):
    """The part cannot be played here; the message says why."""


@dataclass(frozen=True)
class Stage:
    """What a part is given.

    Attributes:
        on_gpu: Whether it is no rehearsal.
        folder: Empty, and gone afterwards.
        write: Appends a line of what was found, by name.
    """

    on_gpu: bool
    folder: Path
    write: Callable[..., None]

    @property
    def seconds(self) -> float:
        """That a measurement takes."""
        return 8.0 if self.on_gpu else 0.5
