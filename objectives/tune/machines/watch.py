"""What people see of the workers while a search runs: terminal, log and note, each at its pace."""

from __future__ import annotations

from datetime import datetime
import time

import optuna
from optuna.trial import FrozenTrial

from objectives.tune.machines.lines import line
from objectives.tune.machines.lines import lines
from objectives.tune.machines.note import Note
from objectives.tune.machines.note import REFRESH_SECONDS
from objectives.tune.machines.rows import Row
from objectives.tune.machines.rows import rows
from objectives.tune.machines.screen import Screen
import storage


__all__ = ["Watch"]

DRAW_SECONDS = 1.0
LOG_SECONDS = 600.0  # a log has a line per trial beside these, and is read later


class Watch:
    """Of a study: for whoever watches others search it, or a callback of `study.optimize`.

    Args:
        study: Is read, and gets the note.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._screen, self._note = study, Screen(), Note(study)
        self._log_due = time.monotonic() + LOG_SECONDS
        self._draw_due = self._note_due = time.monotonic()

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Writes the note, where it is time."""
        if time.monotonic() > self._note_due:
            self._write(self._rows(now := datetime.now()), now)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._screen.write(line)

    def look(self) -> None:
        """Shows what is due; called several times a second."""
        drawn = self._screen.is_drawn
        due = self._draw_due if drawn else self._log_due
        if time.monotonic() < min(due, self._note_due):
            return
        found = self._rows(now := datetime.now())
        if time.monotonic() >= due:
            self._show(found, now, drawn)
        if time.monotonic() >= self._note_due:
            self._write(found, now)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leaves the lines that stay, and a note that says how it ended."""
        self._screen.show([])
        if kind is None:
            now = datetime.now()
            self._note.write(self._rows(now), now, at_once=True)

    def _rows(self, now: datetime) -> list[Row]:
        return rows(self._study.get_trials(deepcopy=False), storage.heard(self._study), now)

    def _show(self, found: list[Row], now: datetime, drawn: bool) -> None:
        if drawn:
            self._draw_due = time.monotonic() + DRAW_SECONDS
            self._screen.show(lines(found, now))
        else:
            self._log_due = time.monotonic() + LOG_SECONDS
            self._screen.write(line(found, now))

    def _write(self, found: list[Row], now: datetime) -> None:
        self._note_due = time.monotonic() + REFRESH_SECONDS
        self._note.write(found, now)
