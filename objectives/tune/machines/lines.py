"""Workers as lines of a terminal: each has one where they are few; draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta

from objectives.report.scales import seconds
from objectives.tune.machines.rows import hours
from objectives.tune.machines.rows import Row
from objectives.tune.machines.rows import summary


__all__ = ["line", "lines"]

FEW = 8
RECENT = timedelta(minutes=1)  # a worker between two trials, or at its end
LABEL = 14


def lines(found: Sequence[Row], now: datetime) -> list[str]:
    """A line per worker that runs a trial or has just run one; one for all where they are many."""
    here = [row for row in found if row.trials or now - row.sign < RECENT]
    if len(here) > FEW:
        return [line(found, now)]
    told = [_cells(row, now) for row in sorted(here, key=lambda row: row.place)]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    return ["   ".join(map(str.ljust, cells, widths)).rstrip() for cells in told]


def line(found: Sequence[Row], now: datetime) -> str:
    """All of them."""
    told = f"{'workers':<{LABEL}} {summary(found)}"
    running = [row for row in found if row.trials]
    if not running:
        return told
    quietest = min(running, key=lambda row: row.sign)
    where = f"{quietest.name} on {quietest.worker.host}"
    return f"{told}; quietest: {where}, {_ago(quietest.sign, now)}"


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    return (
        f"{row.name if ' ' in row.name else f'worker {row.name}':<{LABEL - 2}}",
        f"{row.worker.host} {row.device}",
        _doing(row, now),
        f"heard of {_ago(row.sign, now)}",
        f"{row.done} done, {hours([row])}",
    )


def _doing(row: Row, now: datetime) -> str:
    if row.since is None:
        return "between trials"
    numbers = ", ".join(map(str, row.trials))
    return f"trial{'s' if len(row.trials) > 1 else ''} {numbers} for {_span(row.since, now)}"


def _ago(then: datetime, now: datetime) -> str:
    return f"{_span(then, now)} ago"


def _span(then: datetime, now: datetime) -> str:
    """In whole seconds; clocks of two machines may differ."""
    passed = max(0, round((now - then).total_seconds()))
    return f"{passed} s" if passed < 60 else seconds(passed)
