"""Workers as a table in the study's note, which optuna-dashboard shows; written by its own code.

What people write into the note stays: only what is between two marks is this project's. The marks
are Markdown that is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from importlib.util import find_spec
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from pathlib import Path
import re
from typing import Any

import optuna

from objectives.tune.machines.rows import hours
from objectives.tune.machines.rows import in_hours
from objectives.tune.machines.rows import Row
from objectives.tune.machines.rows import summary


__all__ = ["REFRESH_SECONDS", "Note", "table"]

REFRESH_SECONDS = 30.0
MOST_ROWS = 12  # a note of one attribute is written at once, and those have 2,045 characters
BEGIN, END = "[//]: # (workers at {:.0f})", "[//]: # (end of workers)"
OURS = re.compile(
    re.escape(BEGIN).replace(re.escape("{:.0f}"), r"(\d+)") + f"\n(.*?)\n{re.escape(END)}",
    re.DOTALL,
)
HEAD = "| host | worker | device | trial | since | heard of | done | hours |\n" + "|---" * 8 + "|"


class Note:
    """Of a study.

    Args:
        study: Gets the table.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._dashboard = study, _dashboard()

    def write(self, found: Sequence[Row], now: datetime, *, at_once: bool = False) -> None:
        """Writes the table, where there is optuna-dashboard and no note of somebody else's.

        Args:
            found: The workers, where there are some.
            now: Local time.
            at_once: Also where another process has just written it.
        """
        if self._dashboard is None or not found:
            return
        storage, study = self._study._storage, self._study._study_id
        there = self._dashboard.get_note_from_system_attrs(
            storage.get_study_system_attrs(study), None
        )
        body = _changed(there["body"], found, now, at_once)
        if body is not None:
            # a version of its own would refuse what people are writing meanwhile
            version = max(1, there["version"])
            self._dashboard.save_note_with_version(storage, study, None, version, body)


def _dashboard() -> Any:
    """What optuna-dashboard does with notes, without the server and torch; None where it lacks."""
    package = find_spec("optuna_dashboard")
    if package is None or package.origin is None:
        return None
    spec = spec_from_file_location("_note", Path(package.origin).with_name("_note.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _changed(body: str, found: Sequence[Row], now: datetime, at_once: bool) -> str | None:
    """The note with the table; None where it is to stay as it is."""
    ours = f"{BEGIN.format(now.timestamp())}\n{table(found, now)}\n{END}"
    if not body.strip():
        return ours
    there = OURS.search(body)
    if there is None:
        return None
    before = datetime.fromtimestamp(int(there[1]))
    if not at_once and before <= now < before + timedelta(seconds=REFRESH_SECONDS):
        return None
    same = there[2] == table(found, before)
    return None if same else body[: there.start()] + ours + body[there.end() :]


def table(found: Sequence[Row], now: datetime) -> str:
    """In Markdown; with times of the clock, so that it stays the same as long as it can."""
    shown, rest = found[:MOST_ROWS], found[MOST_ROWS:]
    title = f"**Workers** as of {_clock(now)}: {summary(found)}"
    lines = ["", title, "", HEAD, *map(_line, shown), ""]
    if rest:
        done = sum(row.done for row in rest)
        lines += [f"and {len(rest)} more: {done} done, {hours(rest)}", ""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    cells = (
        *(row.worker.host, row.name, row.device, ", ".join(map(str, row.trials)) or "none"),
        *("" if row.since is None else _clock(row.since), _clock(row.sign)),
        *(str(row.done), in_hours(row.seconds)),
    )
    return f"| {' | '.join(cells)} |"


def _clock(time: datetime) -> str:
    return f"{time:%m-%d %H:%M}"
