"""Lines that stay, and on a terminal some beneath them that are drawn anew; reads no study."""

from __future__ import annotations

from collections.abc import Sequence
import os
import shutil
import sys


__all__ = ["Screen"]

UP, CLEAR = "\x1b[{}A", "\x1b[J"  # ECMA-48: the cursor by so many lines; from there to the end


class Screen:
    """Of standard output."""

    def __init__(self) -> None:
        self._beneath: list[str] = []

    @property
    def is_drawn(self) -> bool:
        """Whether there is a terminal that lines can be drawn anew on."""
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def write(self, line: str) -> None:
        """A line that stays."""
        beneath = self._beneath
        self._put([line], beneath)

    def show(self, lines: Sequence[str]) -> None:
        """In place of those that were shown.

        Args:
            lines: Cut off where the terminal ends: what breaks takes more rows than are known.
        """
        size = shutil.get_terminal_size()
        self._put([], [line[: size.columns - 1] for line in lines[: size.lines - 1]])

    def _put(self, staying: Sequence[str], beneath: list[str]) -> None:
        back = UP.format(len(self._beneath)) + CLEAR if self._beneath else ""
        print(back + "".join(f"{line}\n" for line in [*staying, *beneath]), end="", flush=True)
        self._beneath = beneath
